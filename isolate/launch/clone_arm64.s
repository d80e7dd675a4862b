#include "textflag.h"

// func clone3(args *cloneArgs, size uintptr, img *image, entry uintptr) (pid uintptr)
//
// clone3(2). The child continues on args.stack and calls entry(img), a Go
// function's ABIInternal address: its argument goes in R0, R28 is g (none).
// entry never returns.
TEXT ·clone3(SB), NOSPLIT|NOFRAME, $0-40
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	img+16(FP), R9
	MOVD	entry+24(FP), R10
	MOVD	$435, R8
	SVC
	CBZ	R0, child
	MOVD	R0, pid+32(FP)
	RET
child:
	SUB	$64, RSP
	MOVD	ZR, g
	MOVD	ZR, R29
	MOVD	R9, R0
	CALL	(R10)
	BRK
