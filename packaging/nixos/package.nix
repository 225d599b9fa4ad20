# xeno from this source tree, with the loader shims in it: `pkgs.callPackage ./package.nix { }`. Needs Rust 1.95.
#
# $out/bin/xeno, man pages, completions, and the shims by themselves at $out/libexec/xeno/ld-shim-<cpu>.
{
  lib,
  stdenv,
  rustPlatform,
  callPackage,
  linkFarm,
  installShellFiles,
  pkgsi686Linux,
  # The shim for 32-bit programs. Off: the Rust compiler for i686 is in no binary cache and takes hours to build.
  withI686 ? false,
}:
let
  root = ../..;
  version = (lib.importTOML ../../Cargo.toml).workspace.package.version;
  # What cargo needs to see of the workspace; tests and fixtures are not built.
  src = lib.fileset.toSource {
    inherit root;
    fileset = lib.fileset.unions (
      map (name: root + "/${name}") [
        "Cargo.toml"
        "Cargo.lock"
        "cli"
        "fhs-env"
        "launch"
        "ld-shim"
        "patcher"
        "resolver"
        "store"
        "tests"
        "wrap"
        "xtask"
      ]
    );
  };
  cpu = stdenv.hostPlatform.parsed.cpu.name;
  shims = {
    ${cpu} = callPackage ./shim.nix { inherit version src; };
  }
  // lib.optionalAttrs (withI686 && cpu == "x86_64") {
    i686 = pkgsi686Linux.callPackage ./shim.nix { inherit version src; };
  };
  file = cpu: shim: "${shim}/libexec/xeno/ld-shim-${cpu}";
in
rustPlatform.buildRustPackage {
  pname = "xeno";
  inherit version src;
  cargoLock.lockFile = ../../Cargo.lock;

  # They become part of the program (launch/build.rs).
  env.XENO_SHIMS = "${linkFarm "xeno-shims" (lib.mapAttrs file shims)}";
  cargoBuildFlags = [
    "--package"
    "xeno"
    "--bin"
    "xeno"
  ];
  # They start foreign programs in namespaces; `cargo xtask test` runs them.
  doCheck = false;

  nativeBuildInputs = [ installShellFiles ];
  postInstall = ''
    ${lib.concatStrings (lib.mapAttrsToList (cpu: shim: "install -D -m 555 -t $out/libexec/xeno ${file cpu shim}\n") shims)}
  ''
  + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    mkdir man
    $out/bin/xeno man man
    installManPage man/*
    for shell in bash zsh fish; do
      $out/bin/xeno completions $shell > completions.$shell
      installShellCompletion --cmd xeno --$shell completions.$shell
    done
  '';
  # The shims are finished; xeno was stripped by its profile.
  dontStrip = true;
  dontPatchELF = true;

  # By the CPU's name; the NixOS module puts them into place.
  passthru = { inherit shims; };

  meta = {
    description = "Runs, patches and wraps foreign Linux binaries on any Linux";
    license = [ lib.licenses.mit lib.licenses.asl20 ];
    mainProgram = "xeno";
    platforms = [ "x86_64-linux" "aarch64-linux" "riscv64-linux" ];
  };
}
