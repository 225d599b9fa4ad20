# programs.xeno-shim: foreign programs start by themselves on NixOS. Takes nix-ld's place: NIX_LD, NIX_LD_LIBRARY_PATH,
# their forms with a system's name, and /run/current-system/sw/share/nix-ld mean what they mean there.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  cfg = config.programs.xeno-shim;
  # Where the shim looks for images (ld-shim/src/base.rs), and last of all for a loader (ld-shim/src/variables.rs).
  base = "/opt/xeno";
  tree = "/run/current-system/sw/share/nix-ld/lib";

  cpu = pkgs.stdenv.hostPlatform.parsed.cpu.name;
  # The psABIs' paths of the loader.
  interpreters = {
    x86_64 = "/lib64/ld-linux-x86-64.so.2";
    i686 = "/lib/ld-linux.so.2";
    aarch64 = "/lib/ld-linux-aarch64.so.1";
    riscv64 = "/lib/ld-linux-riscv64-lp64d.so.1";
  };
  shim = cpu: "${cfg.package}/libexec/xeno/ld-shim-${cpu}";
  # 32-bit programs start beside the others, if the package was built for them.
  has32 = cpu == "x86_64" && (cfg.package.shims or { }) ? i686;

  # A loader and what every program finds, in one directory: nix-ld's own layout.
  libraries = pkgs.buildEnv {
    name = "xeno-shim-libraries";
    paths = map lib.getLib cfg.libraries;
    pathsToLink = [ "/lib" ];
    extraPrefix = "/share/nix-ld";
    ignoreCollisions = true;
    postBuild = ''
      mkdir -p $out/share/nix-ld/lib
      ln -s ${pkgs.stdenv.cc.bintools.dynamicLinker} $out/share/nix-ld/lib/ld.so
    '';
  };

  # As environment.ldso does, for a NixOS that does not have it.
  place = cpu: [
    "d ${dirOf interpreters.${cpu}} 0755 root root - -"
    "L+ ${interpreters.${cpu}} - - - - ${shim cpu}"
  ];
  absolute = path: lib.hasPrefix "/" path && !lib.hasInfix ":" path && !lib.hasInfix "$" path;
in
{
  options.programs.xeno-shim = {
    enable = lib.mkEnableOption "xeno's loader shim, through which foreign programs start by themselves";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      description = "The xeno to use; with `withI686 = true`, 32-bit programs start too.";
    };

    users = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = ''
        Whether ordinary users may add programs of their own with `xeno shim add`. What they add counts for
        themselves only, and never for a program that gains rights.
      '';
    };

    libraries = lib.mkOption {
      type = lib.types.listOf lib.types.package;
      default = with pkgs; [
        acl
        attr
        bzip2
        curl
        libsodium
        libssh
        libxml2
        openssl
        stdenv.cc.cc
        systemd
        util-linux
        xz
        zlib
        zstd
      ];
      defaultText = lib.literalMD "what systemd and Nix are made of";
      description = "What every program finds that was not added with `xeno shim add`.";
    };

    live = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "/run/opengl-driver/lib" ];
      description = ''
        Directories that are searched after the libraries, by what they hold at that moment. They are named by the
        session's NIX_LD_LIBRARY_PATH: a program that starts without it gets them from
        `xeno shim add --live DIR PROGRAM`.
      '';
    };
  };

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        assertions = [
          {
            assertion = interpreters ? ${cpu};
            message = "programs.xeno-shim: there is no shim for ${cpu}.";
          }
          {
            assertion = !(config.programs.nix-ld.enable or false) && !(config.programs.nix-ld.dev.enable or false);
            message = ''
              programs.xeno-shim and programs.nix-ld both want to be the loader of foreign programs. Disable
              programs.nix-ld: the shim reads the same variables.
            '';
          }
          {
            assertion = builtins.all absolute cfg.live;
            message = "programs.xeno-shim.live: each is an absolute path without `:` and `$`.";
          }
        ];

        environment.systemPackages = [
          cfg.package
          libraries
        ];
        environment.pathsToLink = [ "/share/nix-ld" ];
        environment.sessionVariables = lib.mkIf (cfg.live != [ ]) {
          NIX_LD_LIBRARY_PATH = [ tree ] ++ cfg.live;
        };

        systemd.tmpfiles.rules = [
          "d ${base} 0755 root root - -"
          # What users have added stays when it is switched off; nobody adds more.
          (if cfg.users then "d ${base}/u 1777 root root - -" else "z ${base}/u 0755 root root - -")
        ];
      }
      (
        if options.environment ? ldso then
          {
            environment.ldso = shim cpu;
            environment.ldso32 = lib.mkIf has32 (shim "i686");
          }
        else
          { systemd.tmpfiles.rules = place cpu ++ lib.optionals has32 (place "i686"); }
      )
    ]
  );
}
