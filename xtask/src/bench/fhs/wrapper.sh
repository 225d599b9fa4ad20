#!/bin/bash
# The peer that `xeno env run` is set beside: what wrappers of the kind that buildFHSEnv makes do at each start. A
# script finds out what the host has, bubblewrap mounts it around a prebuilt root, and a second script inside
# writes ld.so.conf, runs ldconfig, reads a profile and becomes the program.
#
#   wrapper.sh ROOT PROGRAM ARGUMENT...
root=$1
shift
shared=(passwd group shadow hosts resolv.conf nsswitch.conf login.defs sudoers localtime zoneinfo machine-id os-release pam.d fonts
	alsa asound.conf ssl/certs ca-certificates pki dconf shells bashrc zshrc zprofile zshenv)
words=()
for entry in "$root"/*; do
	name=${entry##*/}
	if [[ $name == etc ]]; then
		continue
	elif [[ -L $entry ]]; then
		words+=(--symlink "$(readlink "$entry")" "/$name")
	else
		words+=(--ro-bind "$entry" "/$name")
	fi
done
for entry in "$root"/etc/*; do
	name=${entry##*/}
	[[ $name == ld.so.* || ! -e $entry ]] || words+=(--ro-bind "$entry" "/etc/$name")
done
for name in "${shared[@]}"; do
	[[ ! -e /etc/$name || -e $root/etc/$name ]] || words+=(--symlink "/.host-etc/$name" "/etc/$name")
done
for entry in /*; do
	name=${entry##*/}
	[[ -e $root/$name || -L $root/$name || $name == dev || $name == proc || $name == etc || ! -d $entry || -L $entry ]] ||
		words+=(--bind "$entry" "$entry")
done
export XDG_DATA_DIRS=/run/opengl-driver/share:/usr/local/share:/usr/share LOCALE_ARCHIVE=/usr/lib/locale/locale-archive
read -r -d '' inside <<'INSIDE'
cat > /etc/ld.so.conf <<CONF
/lib
/lib/x86_64-linux-gnu
/lib64
/lib32
/usr/lib/x86_64-linux-gnu
/usr/lib/i386-linux-gnu
/run/opengl-driver/lib
/run/opengl-driver-32/lib
CONF
/.ldconfig &> /dev/null
[[ ! -r /etc/profile ]] || . /etc/profile
export PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin
exec "$@"
INSIDE
exec bwrap --dev-bind /dev /dev --proc /proc --chdir "$PWD" --die-with-parent --ro-bind /etc /.host-etc \
	--ro-bind "$(command -v ldconfig)" /.ldconfig "${words[@]}" /bin/bash -c "$inside" init "$@"
