// Makes a batch of accesses: three QWORDs each, operation, address and value. What is read
// replaces the value.

.Lexecute:
    mov ebx, dword ptr [r15 + {ARGUMENT_0}]
    lea rsi, [r15 + {ACCESSES}]
    lea rbp, [rip + .Loperations]
.Lnext_access:
    test ebx, ebx
    jz .Lok
    mov eax, dword ptr [rsi]
    mov rdi, qword ptr [rsi + 8]
    cmp eax, 14
    jae .Lbad_command
    mov ecx, dword ptr [rbp + rax*4]
    add rcx, rbp                        // the offsets are positive: the code follows the table
    xor eax, eax                        // what a narrow read leaves of rax is 0
    jmp rcx

    .balign 4
.Loperations:
    .long .Lin_byte - .Loperations
    .long .Lin_word - .Loperations
    .long .Lin_dword - .Loperations
    .long .Lout_byte - .Loperations
    .long .Lout_word - .Loperations
    .long .Lout_dword - .Loperations
    .long .Lload_byte - .Loperations
    .long .Lload_word - .Loperations
    .long .Lload_dword - .Loperations
    .long .Lload_qword - .Loperations
    .long .Lstore_byte - .Loperations
    .long .Lstore_word - .Loperations
    .long .Lstore_dword - .Loperations
    .long .Lstore_qword - .Loperations

.Lin_byte:
    mov edx, edi
    in al, dx
    jmp .Lhave_read
.Lin_word:
    mov edx, edi
    in ax, dx
    jmp .Lhave_read
.Lin_dword:
    mov edx, edi
    in eax, dx
    jmp .Lhave_read
.Lload_byte:
    mov al, byte ptr [rdi]
    jmp .Lhave_read
.Lload_word:
    mov ax, word ptr [rdi]
    jmp .Lhave_read
.Lload_dword:
    mov eax, dword ptr [rdi]
    jmp .Lhave_read
.Lload_qword:
    mov rax, qword ptr [rdi]
.Lhave_read:
    mov qword ptr [rsi + 16], rax
.Laccess_done:
    add rsi, {ACCESS_BYTES}
    sub ebx, 1
    jmp .Lnext_access

.Lout_byte:
    mov edx, edi
    mov al, byte ptr [rsi + 16]
    out dx, al
    jmp .Laccess_done
.Lout_word:
    mov edx, edi
    mov ax, word ptr [rsi + 16]
    out dx, ax
    jmp .Laccess_done
.Lout_dword:
    mov edx, edi
    mov eax, dword ptr [rsi + 16]
    out dx, eax
    jmp .Laccess_done
.Lstore_byte:
    mov al, byte ptr [rsi + 16]
    mov byte ptr [rdi], al
    jmp .Laccess_done
.Lstore_word:
    mov ax, word ptr [rsi + 16]
    mov word ptr [rdi], ax
    jmp .Laccess_done
.Lstore_dword:
    mov eax, dword ptr [rsi + 16]
    mov dword ptr [rdi], eax
    jmp .Laccess_done
.Lstore_qword:
    mov rax, qword ptr [rsi + 16]
    mov qword ptr [rdi], rax
    jmp .Laccess_done
