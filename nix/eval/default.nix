# Containers without a system around them: what `firnctl create FILE.nix` evaluates, and
# `lib.evalContainers` of the flake.
#
# A definition is a value { containers.NAME = { … }; } or a NixOS module that makes one. What needs
# no system is answered without nixpkgs, so that foreign containers need none.
{
  # Path of nixpkgs; only looked at where a container has `config`, or the definition is a module.
  nixpkgs ? <nixpkgs>,
  # Path of NixOS in it.
  nixosPath ? nixpkgs + "/nixos",
  system ? builtins.currentSystem,
  # The options of a container.
  options ? import ../options.nix,
  # What a system needs to be a container.
  base ? import ../base.nix,
  # Arguments of every container's modules, beside its own.
  specialArgs ? { },
  # NixOS modules of every container.
  modules ? [ ],
  # Further options of a container, as modules of its own.
  containerModules ? [ ],
  # Public key with which root logs in to systems that have `extra.enableSSH`, and whether all do that don't say no.
  sshKey ? null,
  enableSSH ? false,
  # By container, the release with which it began to write: `system.stateVersion` where the system says none.
  stateVersions ? { },
  # What becomes of a container's system.
  systemOf ? (_: _: toplevel: toplevel),
}:
source:
let
  inherit (builtins) all any attrNames attrValues elem filter functionArgs head isAttrs isFunction listToAttrs mapAttrs;

  # As nix-build calls what it is given: a function whose arguments all have defaults is no module.
  arguments = functionArgs source;
  value = if isFunction source && arguments != { } && all (has: has) (attrValues arguments) then source { } else source;

  isMarked = it: isAttrs it && it ? _type;
  needsModules = container:
    !isAttrs container || isMarked container || any (name: container ? ${name}) own
    # One with nothing to run is a system without a configuration, where there is a nixpkgs for it.
    || (!(any (name: container ? ${name}) roots) && (builtins.tryEval nixpkgs).success);
  isPlain = isAttrs value
    && !(any (name: value ? ${name}) [ "imports" "options" "config" ])
    && (!(value ? containers) || !isAttrs value.containers || isMarked value.containers
      || !(any needsModules (attrValues value.containers)))
    && !(isMarked (value.containers or { }));

  # What stands for a system.
  roots = [ "path" "flake" "rootFS" ];
  # What Nix alone reads. firnctl is given what it comes to, as `path`.
  own = [ "config" "modules" "nixpkgs" "specialArgs" "imports" ];

  lib = import (nixpkgs + "/lib");
  firn = options { inherit lib; };
  evaluated = (lib.evalModules {
    modules = [ outer value ];
    specialArgs = { inherit nixpkgs nixosPath system; pkgs = import nixpkgs { inherit system; }; };
  }).config.containers;

  outer.options.containers = lib.mkOption {
    type = lib.types.attrsOf (lib.types.submodule (
      [ { options = firn.options // ownOptions; } ] ++ lib.optional enableSSH sshByDefault ++ containerModules
    ));
    default = { };
    description = "The containers by name.";
  };

  sshByDefault = { config, ... }: {
    config = lib.mkIf (all (root: elem config.${root} [ null [ ] ]) roots) { extra.enableSSH = lib.mkDefault true; };
  };
  # sshd's port is the container's own.
  sshKeyOf = name: definition:
    let inherit (definition) extra privateNetwork networkNamespace; in
    if sshKey == null then throw "containers.${name}.extra.enableSSH: give evalContainers sshKey, a public key"
    else if privateNetwork || extra.addressPrefix != null || networkNamespace != null then sshKey
    else throw "containers.${name}.extra.enableSSH: needs privateNetwork or extra.addressPrefix: without it port 22 is the host's";

  ownOptions = {
    config = lib.mkOption {
      # Modules are given to NixOS as they are.
      type = lib.mkOptionType {
        name = "NixOS module";
        merge = _: definitions: filter (module: module != null) (map (definition: definition.value) definitions);
      };
      # The default is merged too.
      default = null;
      description = "The container's system, as a NixOS module. It stands in for `path`.";
    };
    modules = lib.mkOption {
      type = lib.types.listOf (lib.types.raw or lib.types.unspecified);
      default = [ ];
      description = "Further NixOS modules beside `config`, as of a flake.";
    };
    nixpkgs = lib.mkOption {
      type = lib.types.raw or lib.types.unspecified;
      default = null;
      description = "Path of the nixpkgs that the system is of, where it is another one.";
    };
    specialArgs = lib.mkOption {
      type = lib.types.attrsOf (lib.types.raw or lib.types.unspecified);
      default = { };
      description = "Further arguments of the system's modules.";
    };
  };

  hasSystem = name:
    let
      container = evaluated.${name};
      other = filter (root: !(elem container.${root} [ null [ ] ])) roots;
      isConfigured = container.config ++ container.modules != [ ];
    in
    if isConfigured && other != [ ] then
      throw "containers.${name}: config and ${head other} are both set: give one of the two"
    else isConfigured || other == [ ];
  withSystem = if isPlain then [ ] else filter hasSystem (attrNames evaluated);

  # What firn adds to a container's system.
  ofFirn = name: definition: { lib, options, config, ... }: {
    _file = "firn";
    imports = [ (base name definition) ];
    config = lib.mkMerge [
      (lib.optionalAttrs definition.extra.enableSSH {
        services.openssh.enable = true;
        users.users.root.openssh.authorizedKeys.keys = [ (sshKeyOf name definition) ];
      })
      # Without older state there is none whose version would be asked for.
      (lib.optionalAttrs (options ? system && options.system ? stateVersion && options.system ? nixos) {
        system.stateVersion = lib.mkDefault (stateVersions.${name} or config.system.nixos.release);
      })
    ];
  };

  evaluation = name:
    let
      container = evaluated.${name};
      ofContainer = if container.nixpkgs == null then nixosPath else container.nixpkgs + "/nixos";
    in
    (import (ofContainer + "/lib/eval-config.nix") {
      inherit system;
      modules = [ (ofFirn name container) ] ++ modules ++ container.modules ++ container.config;
      prefix = [ "containers" name ];
      specialArgs = specialArgs // container.specialArgs;
    }).config;

  evaluations = listToAttrs (map (name: { inherit name; value = evaluation name; }) withSystem);
  systems = mapAttrs (name: config: systemOf name evaluated.${name} config.system.build.toplevel) evaluations;
  # The release, where that is the version of the system's state, as it is if nobody has said one.
  releases = mapAttrs (_: config:
    let inherit (config) system; in
    if (system.stateVersion or null) == (system.nixos.release or "") then system.stateVersion else null) evaluations;
  withSSH = if isPlain then [ ] else filter (name: evaluated.${name}.extra.enableSSH) withSystem;
  # What the system says already is not said again.
  containers = mapAttrs (name: container:
    let definition = firn.definition container; in
    if elem name withSSH then definition // { extra = removeAttrs definition.extra [ "enableSSH" ]; } else definition) evaluated;

  # Paths stay where they are, and are not copied to the store.
  inPlace = it:
    if builtins.isPath it then toString it
    else if builtins.isList it then map inPlace it
    else if isAttrs it && !(it ? outPath) then mapAttrs (_: inPlace) it
    else it;
in
{
  # By container: the derivation of its system.
  inherit systems releases;
  # What firnctl asks for first: the definitions, and which of them have a system to be evaluated.
  outline =
    let definitions = inPlace (if isPlain then value else { inherit containers; }); in
    {
      inherit definitions;
      systems = withSystem;
      ssh = withSSH;
      # What of the store they name: derivations to build, and files.
      needs = attrNames (builtins.getContext (builtins.toJSON definitions));
    };
  # What firnctl reads: JSON, with the systems' store paths.
  definitions =
    if isPlain then value
    else { containers = mapAttrs (name: it: it // (if systems ? ${name} then { path = "${systems.${name}}"; } else { })) containers; };
}
