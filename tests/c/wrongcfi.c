// A JNI method of targets.Resync whose unwind information is wrong: it claims that the frame pointer is its own, which is
// its caller's, and so leads to the caller of its caller. x86_64 only.
__asm__(".text\n"
        ".globl Java_targets_Resync_takeWrong\n"
        ".type Java_targets_Resync_takeWrong, @function\n"
        "Java_targets_Resync_takeWrong:\n"
        "    .cfi_startproc\n"
        "    .cfi_def_cfa %rbp, 16\n"
        "    .cfi_offset %rbp, -16\n"
        "    sub $8, %rsp\n"
        "    mov %rdx, %rdi\n"
        "    call malloc@PLT\n"
        "    add $8, %rsp\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size Java_targets_Resync_takeWrong, . - Java_targets_Resync_takeWrong\n");
