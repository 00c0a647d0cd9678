// Entry, and the loop that waits for commands.
//
// Registers that never change: r15 is this CPU's area, r14 the shared area (set before the first
// instruction). r8 to r11 belong to interrupts: no other code touches them, so handlers save
// nothing of theirs.

    cmp dword ptr [r14 + {X2APIC}], 0
    jne .Lenable_x2apic
    mov edi, {XAPIC}
    mov eax, 0x1ff                      // Spurious Interrupt Vector: enabled, vector 0xff
    mov dword ptr [rdi + 0xf0], eax
    jmp .Lready
.Lenable_x2apic:
    mov ecx, 0x1b                       // IA32_APIC_BASE: enabled, x2APIC
    rdmsr
    or eax, 0xc00
    wrmsr
    mov ecx, 0x80f                      // Spurious Interrupt Vector
    mov eax, 0x1ff
    xor edx, edx
    wrmsr
.Lready:
    mov dword ptr [r15 + {READY}], 1
    xor eax, eax
    mov edx, {PORT_DONE}
    out dx, eax

.Lidle:
    cli
    mov eax, dword ptr [r15 + {ACCEPTED}]
    cmp eax, dword ptr [r15 + {DONE}]
    jne .Lcommand
    sti                                 // takes effect after hlt has begun: no wake-up is lost
    hlt
    jmp .Lidle

.Lcommand:
    sti
    mov eax, dword ptr [r15 + {COMMAND}]
    cmp eax, {COMMAND_EXECUTE}
    je .Lexecute
    cmp eax, {COMMAND_ENUMERATE}
    je .Lenumerate
    cmp eax, {COMMAND_PROGRAM}
    je .Lprogram
    cmp eax, {COMMAND_NOTHING}
    je .Lok
.Lbad_command:
    mov eax, {STATUS_BAD_COMMAND}
    jmp .Lfinish
.Lok:
    mov eax, {STATUS_OK}

// Every command ends here, its status in eax.
.Lfinish:
    mov dword ptr [r15 + {STATUS}], eax
    mov eax, dword ptr [r15 + {ACCEPTED}]
    mov dword ptr [r15 + {DONE}], eax
    mov edx, {PORT_DONE}
    out dx, eax
    jmp .Lidle
