/* What programs without a C library begin with, here, in src/tree-copier and src/plain-client: system calls by number, main with the stack's address, text. */

typedef unsigned long u64;
typedef long i64;
typedef unsigned int u32;
typedef int i32;

#if defined(__x86_64__)
static inline i64 call(i64 n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f) {
  i64 result;
  register u64 r10 __asm__("r10") = d;
  register u64 r8 __asm__("r8") = e;
  register u64 r9 __asm__("r9") = f;
  __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return result;
}
__asm__(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call main\n");
#elif defined(__aarch64__)
static inline i64 call(i64 n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f) {
  register u64 x8 __asm__("x8") = n;
  register u64 x0 __asm__("x0") = a;
  register u64 x1 __asm__("x1") = b;
  register u64 x2 __asm__("x2") = c;
  register u64 x3 __asm__("x3") = d;
  register u64 x4 __asm__("x4") = e;
  register u64 x5 __asm__("x5") = f;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}
__asm__(".globl _start\n_start: mov x29, 0\n mov x30, 0\n mov x0, sp\n b main\n");
#else
#error "x86-64 and arm64 only"
#endif

static inline u64 length_of(const char *text) {
  u64 length = 0;
  while (text[length]) length++;
  return length;
}

static inline char *append(char *to, const char *text) {
  while (*text) *to++ = *text++;
  return to;
}

static inline char *append_number(char *to, u64 number) {
  char digits[20];
  u32 count = 0;
  do digits[count++] = '0' + number % 10;
  while (number /= 10);
  while (count) *to++ = digits[--count];
  return to;
}
