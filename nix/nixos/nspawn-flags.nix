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

  table = {
    "-U" = _: { privateUsers = "pick"; };
    "--private-users" = users;
    # Nothing is changed on the disk: ids are mapped.
    "--private-users-ownership" = value: if builtins.elem value [ "map" "auto" ] then { } else null;
    "--bind" = bind false;
    "--bind-ro" = bind true;
    "--capability" = value: { additionalCapabilities = lib.splitString "," value; };
    "--tmpfs" = value: { tmpfs = [ value ]; };
    "--setenv" = pair "=" "environment";
    "--load-credential" = pair ":" "credentials";
    "--link-journal" = value: if builtins.elem value [ "no" "auto" ] then { } else { linkJournal = true; };
    "--hostname" = value: { hostname = value; };
    "--notify-ready" = value: { notify = isYes value; };
    "--resolv-conf" = value: { copyResolvConf = value != "off"; };
    "--network-macvlan" = value: { macvlans = [ value ]; };
    "--network-interface" = value: { interfaces = [ value ]; };
  };
  meaning = flag: let inherit (parts flag) name value; in if table ? ${name} then table.${name} value else null;
in
{
  optionsOf = flags: builtins.filter (options: options != null) (map meaning (words flags));
  unknown = flags: builtins.filter (flag: meaning flag == null) (words flags);
}
