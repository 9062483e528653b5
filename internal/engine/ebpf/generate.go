package ebpf

// The compiled program is committed, so that building the agent needs no clang.
// The same clang gives the same bytes anywhere; where it is called otherwise,
// BPF_CLANG and BPF_STRIP say so.

//go:generate sh -c "go tool bpf2go -cc $DOLLAR{BPF_CLANG:-clang-19} -strip $DOLLAR{BPF_STRIP:-llvm-strip-19} -target amd64,arm64 -output-stem program -go-package ebpf -type prefix4 -type prefix6 -type datagram -type held program ../../../bpf/pg_netstat.bpf.c -- -O2 -mcpu=v3 -Wall -Wextra -Werror -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu"
