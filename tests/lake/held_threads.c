/* Holds every foreign thread that asks for the GIL: until the interpreter begins to end, or for so many milliseconds.
 *
 * A thread of a library (Arrow, DuckDB, delta-rs, Polars) that still holds memory of Python asks for the GIL to give it
 * back. Where the interpreter is at its end by then, CPython stops the thread in the middle of C++, which ends the
 * process by SIGABRT or SIGSEGV, or hangs it (from 3.14 on). On a machine at rest the thread is nearly always in time;
 * here it never is. A process in which one comes too late ends with the code TOO_LATE, so that each Python shows the same.
 *
 * Threads that Python made itself are not held: it waits for them, or stops them where they can be stopped.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TOO_LATE 86

static int (*ensure)(void);
static int (*is_finalizing)(void);
static void *(*own_state)(void);
static long limit;
static _Atomic long held_threads;

static int held_ensure(void) {
    if (!own_state()) {
        held_threads++;
        for (long waited = 0; waited < limit && !is_finalizing(); waited++) usleep(1000);
        if (is_finalizing()) {
            Dl_info caller = {0};
            dladdr(__builtin_return_address(0), &caller);
            fprintf(stderr, "too late: a thread in %s\n", caller.dli_fname ? caller.dli_fname : "?");
            _exit(TOO_LATE);
        }
    }
    return ensure();
}

/* The slot of a library from which it calls PyGILState_Ensure is made to point here. */
static int redirect(struct link_map *library, ElfW(Rela) *entries, size_t count, ElfW(Sym) *symbols, const char *names) {
    int redirected = 0;
    for (size_t i = 0; i < count; i++) {
        size_t symbol = ELF64_R_SYM(entries[i].r_info);
        if (!symbol || strcmp(names + symbols[symbol].st_name, "PyGILState_Ensure")) continue;
        void **slot = (void **)(library->l_addr + entries[i].r_offset);
        size_t page = sysconf(_SC_PAGESIZE);
        mprotect((void *)((size_t)slot & ~(page - 1)), page, PROT_READ | PROT_WRITE);
        *slot = (void *)held_ensure;
        redirected++;
    }
    return redirected;
}

/* How many libraries of those that are loaded will be held; -1 where this Python can't be asked. */
int hold(long milliseconds) {
    limit = milliseconds;
    ensure = (int (*)(void))dlsym(RTLD_DEFAULT, "PyGILState_Ensure");
    own_state = (void *(*)(void))dlsym(RTLD_DEFAULT, "PyGILState_GetThisThreadState");
    is_finalizing = (int (*)(void))dlsym(RTLD_DEFAULT, "Py_IsFinalizing");
    if (!is_finalizing) is_finalizing = (int (*)(void))dlsym(RTLD_DEFAULT, "_Py_IsFinalizing"); /* before 3.13 */
    if (!ensure || !own_state || !is_finalizing) return -1;
    int libraries = 0;
    for (struct link_map *library = dlopen(NULL, RTLD_NOW); library; library = library->l_next) {
        if (!strstr(library->l_name, "/site-packages/")) continue;
        ElfW(Rela) *data = 0, *calls = 0;
        size_t data_bytes = 0, calls_bytes = 0;
        ElfW(Sym) *symbols = 0;
        const char *names = 0;
        for (ElfW(Dyn) *entry = library->l_ld; entry->d_tag; entry++) switch (entry->d_tag) {
            case DT_RELA: data = (void *)entry->d_un.d_ptr; break;
            case DT_RELASZ: data_bytes = entry->d_un.d_val; break;
            case DT_JMPREL: calls = (void *)entry->d_un.d_ptr; break;
            case DT_PLTRELSZ: calls_bytes = entry->d_un.d_val; break;
            case DT_SYMTAB: symbols = (void *)entry->d_un.d_ptr; break;
            case DT_STRTAB: names = (void *)entry->d_un.d_ptr; break;
        }
        int found = redirect(library, data, data_bytes / sizeof *data, symbols, names) +
                    redirect(library, calls, calls_bytes / sizeof *calls, symbols, names);
        libraries += found > 0;
    }
    return libraries;
}

long held(void) { return held_threads; }
