// What the IDT points to. The gates keep interrupts closed until iretq.

.Ldispatch:                             // r8: the vector
    cmp r8d, {FIRST_INTERRUPT_VECTOR}
    jb .Lfatal
    cmp r8d, {WAKE_VECTOR}
    je .Lwake
    mov r9d, r8d
    sub r9d, {FIRST_DEVICE_VECTOR}
    cmp r9d, {DEVICE_VECTORS}
    jae .Lunexpected
    add r9d, dword ptr [r14 + {WAVE}]   // r9: the table entry
    cmp r9d, {MAX_ENTRIES}
    jae .Lunexpected

// A KVM that emulates instructions copies memory byte by byte: what is read twice alike was not
// torn, and locked instructions write whole. The run is counted last: whoever sees the count sees
// the sequence number too.
.Lread_sequence:
    mov r10, qword ptr [r14 + r9*8 + {SEQUENCES}]
    cmp r10, qword ptr [r14 + r9*8 + {SEQUENCES}]
    jne .Lread_sequence
    xchg qword ptr [r15 + r9*8 + {LAST_SEEN}], r10
    lock add dword ptr [r15 + r9*4 + {RUNS}], 1
    mov r8d, {PORT_HANDLED}
    jmp .Lreport

.Lunexpected:
    mov r9d, r8d
    mov r8d, {PORT_UNEXPECTED}

// End of interrupt, then the report: r9 to port r8.
.Lreport:
    push rax
    push rdx
    call .Lend_of_interrupt
    mov eax, r9d
    mov edx, r8d
    out dx, eax
    pop rdx
    pop rax
    iretq

// The host has a command: from here on the main loop sees it.
.Lwake:
    mov r9d, dword ptr [r15 + {REQUESTED}]
    cmp r9d, dword ptr [r15 + {ACCEPTED}]
    je .Lunexpected                     // not the host's: it sends one for each command
    mov dword ptr [r15 + {ACCEPTED}], r9d
    push rax
    push rdx
    call .Lend_of_interrupt
    pop rdx
    pop rax
    iretq

// The stack is as the CPU left it, for the host to read: no push before the report.
.Lfatal:
    mov eax, r8d
    mov edx, {PORT_FATAL}
    out dx, eax
.Ldead:
    cli
    hlt
    jmp .Ldead

// Changes rax and rdx. A KVM that emulates instructions may never mark a vector as in service, and
// then nobody misses this; on any other, the next interrupt would not come.
.Lend_of_interrupt:
    cmp dword ptr [r14 + {X2APIC}], 0
    jne .Lend_x2apic
    mov eax, {XAPIC} + 0xb0
    mov dword ptr [rax], 0
    ret
.Lend_x2apic:
    push rcx
    mov ecx, 0x80b
    xor eax, eax
    xor edx, edx
    wrmsr
    pop rcx
    ret

// One entry point for each vector, all alike: mov r8d, vector; jmp .Ldispatch
    .balign {STUB_BYTES}
msix_vmm_guest_stubs:
    .set msix_vmm_guest_vector, 0
    .rept 256
    .byte 0x41, 0xb8
    .long msix_vmm_guest_vector
    jmp .Ldispatch
    .balign {STUB_BYTES}
    .set msix_vmm_guest_vector, msix_vmm_guest_vector + 1
    .endr
