#include "textflag.h"

// func clone3(args *cloneArgs, size uintptr, img *image, entry uintptr) (pid uintptr)
//
// clone3(2). The child continues on args.stack and calls entry(img), a Go
// function's ABIInternal address: its argument goes in AX, R14 is g (none) and
// X15 is zero. entry never returns. The parent's registers and stack are
// untouched, so this also serves CLONE_VM|CLONE_VFORK.
TEXT ·clone3(SB), NOSPLIT|NOFRAME, $0-40
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	img+16(FP), R12
	MOVQ	entry+24(FP), R13
	MOVQ	$435, AX
	SYSCALL
	TESTQ	AX, AX
	JZ	child
	MOVQ	AX, pid+32(FP)
	RET
child:
	SUBQ	$64, SP
	ANDQ	$~15, SP
	XORL	R14, R14
	XORPS	X15, X15
	XORL	BP, BP
	MOVQ	R12, AX
	CALL	R13
	INT	$3
