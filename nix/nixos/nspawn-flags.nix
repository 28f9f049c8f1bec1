# Flags of systemd-nspawn(1), as `extraFlags` has them, as options: the same as firnctl reads in a .conf.
{ lib }:
let
  # As in `--bind=/a:/b:idmap`; a flag may be written with more in one text.
  words = flags: builtins.filter (word: word != "") (lib.concatMap (lib.splitString " ") flags);
  parts = flag:
    let found = builtins.match "([^=]*)=(.*)" flag; in
    if found == null then { name = flag; value = ""; }
    else { name = builtins.elemAt found 0; value = builtins.elemAt found 1; };

  bind = isReadOnly: value:
    let
      fields = lib.splitString ":" value;
      field = n: if n < builtins.length fields && builtins.elemAt fields n != "" then builtins.elemAt fields n else null;
      source = field 0;
      given = if field 2 == null then [ ] else lib.splitString "," (field 2);
      maps = builtins.filter (option: option != "" && option != "rbind") given;
    in
    {
      bindMounts.${if field 1 == null then source else field 1} = { hostPath = source; inherit isReadOnly; }
        // lib.optionalAttrs (maps != [ ]) { idmap = lib.head maps; };
    };
  pair = separator: option: value:
    let found = builtins.match "([^${separator}]*)${separator}(.*)" value; in
    if found == null then null else { ${option}.${builtins.elemAt found 0} = builtins.elemAt found 1; };
  # The first id; or a kind.
  users = value:
    let first = lib.head (lib.splitString ":" value); in
    { privateUsers = if builtins.match "[0-9]+" first != null then builtins.fromJSON first else value; };
  isYes = value: builtins.elem value [ "yes" "true" "1" "on" ];
  isNo = value: builtins.elem value [ "no" "false" "0" "off" ];
  # Nothing that firn would do otherwise.
  none = _: { };
  only = is: options: value: if is value then options else null;
  isOneOf = values: value: builtins.elem value values;
  isNumber = value: builtins.match "-?[0-9]{1,18}" value != null;
  number = value:
    if value == "infinity" then 9223372036854775807
    else if isNumber value then builtins.fromJSON value
    else null;

  # `PROTOCOL:HOST:CONTAINER`, with the first and the last left out where they are usual.
  port = value:
    let
      fields = lib.splitString ":" value;
      hasProtocol = builtins.elem (lib.head fields) [ "tcp" "udp" "sctp" ];
      ports = if hasProtocol then lib.tail fields else fields;
    in
    if ports == [ ] || builtins.length ports > 2 || !(lib.all isNumber ports) then null
    else {
      forwardPorts = [ ({
        protocol = if hasProtocol then lib.head fields else "tcp";
        hostPort = builtins.fromJSON (lib.head ports);
      } // lib.optionalAttrs (builtins.length ports == 2) { containerPort = builtins.fromJSON (lib.last ports); }) ];
    };
  veth = value:
    let fields = lib.splitString ":" value; in
    { extraVeths.${lib.last fields}.hostInterface = lib.head fields; };
  # A property of the scope's (systemd.resource-control(5)) that is a limit.
  property = text:
    let
      inherit (parts text) name value;
      percent = builtins.match "([0-9]+)%" value;
    in
    if name == "MemoryMax" && value != "" then { memory = value; }
    else if name == "CPUQuota" && percent != null then { cpus = builtins.fromJSON (lib.head percent) / 100.0; }
    else if name == "TasksMax" && isNumber value then { pids = builtins.fromJSON value; }
    else null;
  # `NAME=SOFT[:HARD]`.
  rlimit = text:
    let
      inherit (parts text) name value;
      fields = lib.splitString ":" value;
      soft = number (lib.head fields);
      hard = number (lib.last fields);
    in
    if soft == null || hard == null then null
    else { ociConfig.process.rlimits = [ { type = if lib.hasPrefix "RLIMIT_" name then name else "RLIMIT_${name}"; inherit soft hard; } ]; };

  table = {
    "-U" = _: { privateUsers = "pick"; };
    "--private-users" = users;
    "-q" = none;
    "--quiet" = none;
    "--boot" = none;
    "--keep-unit" = none;
    # As far as there is a journal to link to.
    "-j" = none;
    "--register" = only (value: isYes value || value == "auto") { };
    "--settings" = only isNo { };
    "--timezone" = only (isOneOf [ "off" ]) { };
    # Nothing is changed on the disk: ids are mapped.
    "--private-users-ownership" = only (isOneOf [ "map" "auto" "off" "chown" ]) { };
    "-x" = _: { ephemeral = true; };
    "--ephemeral" = _: { ephemeral = true; };
    "--bind" = bind false;
    "--bind-ro" = bind true;
    "--capability" = value: { additionalCapabilities = lib.splitString "," value; };
    "--tmpfs" = value: { tmpfs = [ value ]; };
    "--setenv" = pair "=" "environment";
    "--load-credential" = pair ":" "credentials";
    "--link-journal" = value: if isOneOf [ "no" "auto" "try-guest" "try-host" ] value then { } else { linkJournal = true; };
    "--hostname" = value: { hostname = value; };
    "--notify-ready" = value: { notify = isYes value; };
    "--resolv-conf" = value: { copyResolvConf = value != "off"; };
    "--network-macvlan" = value: { macvlans = [ value ]; };
    "--network-interface" = value: { interfaces = [ value ]; };
    "--network-namespace-path" = value: { networkNamespace = value; };
    "--network-bridge" = value: { privateNetwork = true; hostBridge = value; };
    "--network-veth-extra" = veth;
    "--private-network" = _: { privateNetwork = true; };
    "--port" = port;
    "--property" = property;
    "--rlimit" = rlimit;
    "--kill-signal" = value: { ociConfig.annotations."org.opencontainers.image.stopSignal" = value; };
    "--no-new-privileges" = value:
      if isNo value then { } else if isYes value then { ociConfig.process.noNewPrivileges = true; } else null;
    "--oom-score-adjust" = value: if isNumber value then { ociConfig.process.oomScoreAdj = builtins.fromJSON value; } else null;
    "--cpu-affinity" = value: { ociConfig.linux.resources.cpu.cpus = value; };
  };
  meaning = flag: let inherit (parts flag) name value; in if table ? ${name} then table.${name} value else null;
in
{
  optionsOf = flags: builtins.filter (options: options != null) (map meaning (words flags));
  unknown = flags: builtins.filter (flag: meaning flag == null) (words flags);
}
