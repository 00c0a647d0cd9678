// Programs consecutive table entries, DWORD by DWORD.

.Lprogram:
    mov eax, dword ptr [r15 + {ARGUMENT_1}]
    imul rdi, rax, {ENTRY_BYTES}
    add rdi, qword ptr [r15 + {ARGUMENT_0}]
    mov ecx, dword ptr [r15 + {ARGUMENT_2}]
    mov ebx, dword ptr [r15 + {ARGUMENT_3}]
    mov edx, dword ptr [r15 + {ARGUMENT_4}]
    mov esi, dword ptr [r15 + {ARGUMENT_5}]
    xor eax, eax
.Lnext_entry:
    test ecx, ecx
    jz .Lok
    mov dword ptr [rdi], ebx            // Message Address
    mov dword ptr [rdi + 4], eax        // Message Upper Address
    mov dword ptr [rdi + 8], edx        // Message Data
    cmp esi, 2                          // 0 or 1: the Mask Bit, 2: leave Vector Control alone
    jae .Lentry_done
    mov dword ptr [rdi + 12], esi
.Lentry_done:
    add rdi, {ENTRY_BYTES}
    add edx, 1
    sub ecx, 1
    jmp .Lnext_entry
