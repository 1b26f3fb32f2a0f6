// true: ends at once, without a libc whose own start would hide what is measured.
__attribute__((naked, noreturn)) void _start(void) {
    __asm__("xor %edi, %edi; mov $231, %eax; syscall");
}
