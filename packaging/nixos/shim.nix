# One loader shim, for the platform it is called for, as `cargo xtask dist` builds it: a program without libc, linked
# by lld alone. Nothing may touch it afterwards.
{
  lib,
  stdenv,
  rustPlatform,
  lld,
  version,
  src,
}:
let
  target = stdenv.hostPlatform.rust.rustcTarget;
  # Why each: xtask/src/shims.rs, which has the same ones.
  flags = [
    "-Clinker=${lld}/bin/ld.lld"
    "-Clinker-flavor=ld.lld"
    "-Clink-self-contained=no"
    "-Ctarget-feature=-crt-static"
    "-Crelocation-model=pie"
    "-Cjump-tables=no"
    "-Crelro-level=off"
    "-Clink-arg=-ztext"
    "-Clink-arg=-zrodynamic"
    "-Clink-arg=--no-dynamic-linker"
    "-Cllvm-args=-inline-threshold=40"
    "-Cforce-unwind-tables=no"
    "-Clink-arg=--no-eh-frame-hdr"
    "-Clink-arg=--hash-style=gnu"
    "-Clink-arg=--build-id=none"
    "-Clink-arg=--export-dynamic-symbol=_dl_debug_state"
    "-Clink-arg=-T${../../ld-shim/link.ld}"
  ];
in
rustPlatform.buildRustPackage {
  pname = "xeno-ld-shim";
  inherit version src;
  cargoLock.lockFile = ../../Cargo.lock;

  # Would add a section, and with it an undefined symbol.
  auditable = false;

  buildPhase = ''
    runHook preBuild
    CARGO_ENCODED_RUSTFLAGS=${lib.escapeShellArg (lib.concatStringsSep (builtins.fromJSON ''"\u001f"'') flags)} \
      cargo build --offline --profile shim --package ld-shim --bin ld-shim --features program --target ${target} \
      --target-dir target/shim
    runHook postBuild
  '';
  doCheck = false;
  installPhase = ''
    runHook preInstall
    install -D -m 555 target/shim/${target}/shim/ld-shim $out/libexec/xeno/ld-shim-${stdenv.hostPlatform.parsed.cpu.name}
    runHook postInstall
  '';
  dontStrip = true;
  dontPatchELF = true;

  meta = {
    description = "Stands where foreign programs expect their loader and starts the right one";
    license = [ lib.licenses.mit lib.licenses.asl20 ];
    platforms = [ "x86_64-linux" "i686-linux" "aarch64-linux" "riscv64-linux" ];
  };
}
