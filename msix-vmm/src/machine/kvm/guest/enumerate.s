// Finds a device on bus 0 and sets it up. ebp: device number, ecx: register, r12: the next free
// address of the window, r13: the reply of the BAR at hand.

.Lenumerate:
    xor ebp, ebp
.Lscan:
    xor ecx, ecx
    call .Lconfig_read
    cmp eax, dword ptr [r15 + {ARGUMENT_0}]
    je .Lfound
    add ebp, 1
    cmp ebp, 32
    jb .Lscan
    mov eax, {STATUS_NOT_FOUND}
    jmp .Lfinish

.Lfound:
    mov dword ptr [r15 + {SLOT}], ebp
    mov ecx, 4                          // Command: decode nothing while BARs hold all-ones
    call .Lconfig_select
    mov edx, 0xcfc
    xor eax, eax
    out dx, ax
    mov r12, qword ptr [r15 + {ARGUMENT_1}]
    lea r13, [r15 + {BARS}]
    mov ecx, 0x10
.Lbar:
    cmp ecx, 0x28
    jae .Lbars_done
    call .Lconfig_read
    mov ebx, eax                        // the register as it was
    mov dword ptr [r13], ebx
    mov dword ptr [r13 + 4], 0
    mov qword ptr [r13 + 8], 0
    mov qword ptr [r13 + 16], 0
    call .Lconfig_size
    test ebx, 1
    jnz .Lbar_io
    mov edi, eax
    and edi, 0xfffffff0
    mov esi, ebx
    and esi, 6
    cmp esi, 4
    je .Lbar_wide
    test edi, edi
    jz .Lbar_absent
    mov rax, -1
    shl rax, 32
    or rdi, rax
    jmp .Lbar_place
.Lbar_wide:
    add ecx, 4
    call .Lconfig_size
    sub ecx, 4
    shl rax, 32
    or rdi, rax
    jz .Lbar_absent
.Lbar_place:                            // rdi: the bits that stick, that is, minus the size
    mov rax, rdi
    neg rax
    mov qword ptr [r13 + 8], rax        // size
    lea rdx, [r12 + rax - 1]
    and rdx, rdi                        // base: the cursor, aligned to the size
    mov qword ptr [r13 + 16], rdx
    add rax, rdx
    jc .Lwindow_full
    cmp rax, qword ptr [r15 + {ARGUMENT_2}]
    ja .Lwindow_full
    mov r12, rax
    mov esi, edx
    call .Lconfig_write
    mov eax, ebx
    and eax, 6
    cmp eax, 4
    jne .Lbar_next
    add ecx, 4                          // a 64-bit BAR takes the next one's place
    add r13, {BAR_BYTES}
    mov qword ptr [r13], 0
    mov qword ptr [r13 + 8], 0
    mov qword ptr [r13 + 16], 0
    xor esi, esi
    call .Lconfig_write
    jmp .Lbar_next
.Lbar_io:                               // reported and left where it is
    and eax, 0xfffc
    jz .Lbar_absent
    neg eax
    and eax, 0xffff
    mov dword ptr [r13 + 8], eax
    mov eax, ebx
    and eax, 0xfffffffc
    mov dword ptr [r13 + 16], eax
.Lbar_absent:
    mov esi, ebx
    call .Lconfig_write
.Lbar_next:
    add ecx, 4
    add r13, {BAR_BYTES}
    jmp .Lbar
.Lwindow_full:
    mov eax, {STATUS_WINDOW_FULL}
    jmp .Lfinish

.Lbars_done:
    mov ecx, 4                          // Command: memory decoding and bus mastering
    call .Lconfig_select
    mov edx, 0xcfc
    in ax, dx
    or eax, 6
    out dx, ax
    call .Lconfig_read                  // Status: is there a capability list?
    test eax, 0x100000
    jz .Lno_msix
    mov ecx, 0x34
    call .Lconfig_read
    mov edi, {MAX_CAPABILITIES}
.Lwalk:
    and eax, 0xfc
    cmp eax, 0x40
    jb .Lno_msix
    mov ecx, eax
    call .Lconfig_read
    cmp al, 0x11
    je .Lmsix
    shr eax, 8
    sub edi, 1
    jnz .Lwalk
    mov eax, {STATUS_LOOP}
    jmp .Lfinish
.Lno_msix:
    mov eax, {STATUS_NO_MSIX}
    jmp .Lfinish
.Lmsix:
    mov dword ptr [r15 + {CAPABILITY}], ecx
    mov dword ptr [r15 + {REGISTERS}], eax
    add ecx, 4
    call .Lconfig_read
    mov dword ptr [r15 + {REGISTERS} + 4], eax
    add ecx, 4
    call .Lconfig_read
    mov dword ptr [r15 + {REGISTERS} + 8], eax
    jmp .Lok

// Selects register ecx of device ebp. Changes eax and edx.
.Lconfig_select:
    mov eax, ebp
    shl eax, 11
    or eax, ecx
    or eax, 0x80000000
    mov edx, 0xcf8
    out dx, eax
    ret

// Reads register ecx of device ebp into eax. Changes edx.
.Lconfig_read:
    call .Lconfig_select
    mov edx, 0xcfc
    in eax, dx
    ret

// Writes esi to register ecx of device ebp. Changes eax and edx.
.Lconfig_write:
    call .Lconfig_select
    mov edx, 0xcfc
    mov eax, esi
    out dx, eax
    ret

// Writes all-ones to register ecx and reads into eax what stuck. Changes edx and esi.
.Lconfig_size:
    mov esi, -1
    call .Lconfig_write
    jmp .Lconfig_read
