# A system as firnctl takes it, without nixpkgs: an init, and a program that switches to it while
# another version runs. The programs are the closure's own static busybox.
#
# version: what tells one system from another. status: exit status of the switch. keys: of root. release and stateVersion: of NixOS.
{ busybox, version, status ? "0", keys ? [ ], release ? null, stateVersion ? null, system ? builtins.currentSystem }:
let
  shell = builtins.path { name = "busybox"; path = busybox; };
  tools = derivation {
    name = "firn-test-busybox";
    inherit system;
    builder = busybox;
    args = [ "sh" "-euc" ''
      ${busybox} mkdir -p $out/bin
      ${busybox} cp ${shell} $out/bin/busybox
      ${busybox} chmod 755 $out/bin/busybox
      for tool in $(${busybox} --list); do
        ${busybox} test $tool = busybox || ${busybox} ln -s busybox $out/bin/$tool
      done
    '' ];
  };
  hello = derivation {
    name = "firn-test-hello-${version}";
    inherit system;
    builder = "${tools}/bin/sh";
    args = [ "-euc" ''
      ${tools}/bin/mkdir -p $out/bin
      ${tools}/bin/printf '#!${tools}/bin/sh\necho hello of ${version}\n' > $out/bin/hello
      ${tools}/bin/chmod 755 $out/bin/hello
    '' ];
  };
in
derivation {
  name = "firn-test-system-${version}";
  inherit system;
  builder = "${tools}/bin/sh";
  init = ''
    #!${tools}/bin/sh
    export PATH=${tools}/bin
    trap 'exit 0' 37
    trap 'exit 133' USR1
    mkdir -p /bin
    ln -sf ${tools}/bin/sh /bin/sh
    echo booted ${version}
    # A service in a mount namespace of its own, which later executes what it is told.
    unshare -m --propagation slave sh -c 'while :; do
      if [ -e /run/execute ]; then "$(cat /run/execute)" > /run/executed 2>&1; rm /run/execute; fi
      sleep 0.05
    done' &
    while :; do sleep 3600 & wait $!; done
  '';
  switch = ''
    #!${tools}/bin/sh
    export PATH=${tools}/bin
    echo "$1 ${version}" >> /switched
    echo "warning: of ${version}" >&2
    exit ${status}
  '';
  keys = builtins.concatStringsSep "\n" keys;
  inherit release stateVersion;
  passAsFile = [ "init" "switch" ];
  args = [ "-euc" ''
    PATH=${tools}/bin
    mkdir -p $out/bin
    cp $initPath $out/init
    cp $switchPath $out/bin/switch-to-configuration
    chmod 755 $out/init $out/bin/switch-to-configuration
    [ -z "$release" ] || echo "$release.20990101.abcdef" > $out/nixos-version
    [ -z "$stateVersion" ] || echo "$stateVersion" > $out/state-version
    [ -z "$keys" ] || echo "$keys" > $out/keys
    ln -s ${tools} $out/sw
    ln -s ${hello}/bin/hello $out/bin/hello
  '' ];
} // { inherit tools; }
