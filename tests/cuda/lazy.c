// A static stand-in for one CUDA library, to link with where there is none.
// Each function looks the true one up by name at its first call, as a PLT entry
// does; where the library or the function is missing it answers with an error.
//
// stubs.py compiles this once for each library and defines
//   FUNCTIONS    a file with a line FN(number, name, kind) for each function
//   LIBRARIES    the file names to try, in order, as a list of strings
//   NO_LIBRARY   the status to return where none of them can be loaded
//   NO_FUNCTION  the status to return where the library lacks the function
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define LENGTH(array) (sizeof(array) / sizeof *(array))

static void *library;
static pthread_once_t once = PTHREAD_ONCE_INIT;

// What is answered in place of a missing function, by its kind.
static long status(void) { return library ? NO_FUNCTION : NO_LIBRARY; }
static long zero(void) { return 0; }
static const char *text(void) { return "the CUDA library is not installed"; }
static int text_out(int code, const char **out) {
  (void)code;
  *out = "the CUDA driver is not installed";
  return 0;
}

static void *open_library(const char *name) {
  void *found = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  // Where toolkits lie without the loader knowing of them.
  const char *roots[] = {getenv("CUDA_HOME"), getenv("CUDA_PATH"), "/usr/local/cuda"};
  const char *folders[] = {"lib64", "lib"};
  for (size_t i = 0; i < LENGTH(roots) * LENGTH(folders) && !found; i++) {
    char path[4096];
    const char *root = roots[i / LENGTH(folders)];
    if (root && *root &&
        snprintf(path, sizeof path, "%s/%s/%s", root, folders[i % LENGTH(folders)], name) <
            (int)sizeof path)
      found = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  }
  return found;
}

static void open_any(void) {
  static const char *const names[] = {LIBRARIES};
  for (size_t i = 0; i < LENGTH(names) && !library; i++)
    library = open_library(names[i]);
}

#define FN(number, name, kind) {#name, (void *)kind},
static const struct {
  const char *name;
  void *missing;
} functions[] = {
#include FUNCTIONS
};
#undef FN

// Where each function jumps to: at first to its own code that binds it.
#define FN(number, name, kind) extern char first_##name[] __attribute__((visibility("hidden")));
#include FUNCTIONS
#undef FN
#define FN(number, name, kind) first_##name,
__attribute__((used)) static void *slots[] = {
#include FUNCTIONS
};
#undef FN

__attribute__((used)) static void *find(unsigned number) {
  pthread_once(&once, open_any);
  void *found = library ? dlsym(library, functions[number].name) : NULL;
  if (!found)
    found = functions[number].missing;
  __atomic_store_n(&slots[number], found, __ATOMIC_RELEASE);
  return found;
}

// Finds function number %r11 and goes on to it with the caller's arguments, so
// the argument registers are kept. (On entry the stack is 8 off from 16.)
__asm__(".text\n"
        "bind:\n"
        "  push %rdi; push %rsi; push %rdx; push %rcx; push %r8; push %r9; push %rax\n"
        "  sub $128, %rsp\n"
        "  movups %xmm0, (%rsp);   movups %xmm1, 16(%rsp)\n"
        "  movups %xmm2, 32(%rsp); movups %xmm3, 48(%rsp)\n"
        "  movups %xmm4, 64(%rsp); movups %xmm5, 80(%rsp)\n"
        "  movups %xmm6, 96(%rsp); movups %xmm7, 112(%rsp)\n"
        "  mov %r11d, %edi\n"
        "  call find\n"
        "  mov %rax, %r11\n"
        "  movups (%rsp), %xmm0;   movups 16(%rsp), %xmm1\n"
        "  movups 32(%rsp), %xmm2; movups 48(%rsp), %xmm3\n"
        "  movups 64(%rsp), %xmm4; movups 80(%rsp), %xmm5\n"
        "  movups 96(%rsp), %xmm6; movups 112(%rsp), %xmm7\n"
        "  add $128, %rsp\n"
        "  pop %rax; pop %r9; pop %r8; pop %rcx; pop %rdx; pop %rsi; pop %rdi\n"
        "  jmp *%r11\n");

// Hidden: the true libraries shall not find these when they look each other up.
#define FN(number, name, kind)                                                                     \
  __asm__(".text\n"                                                                                \
          ".globl " #name "\n.hidden " #name "\n.type " #name ", @function\n" #name ":\n"          \
          "  jmp *slots + 8 * " #number "(%rip)\n"                                                 \
          ".globl first_" #name "\n.hidden first_" #name "\nfirst_" #name ":\n"                    \
          "  mov $" #number ", %r11d\n"                                                            \
          "  jmp bind\n");
#include FUNCTIONS
