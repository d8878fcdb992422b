/* A library to preload: counts the heap calls of the program it is loaded into. For measuring and
 * tests only.
 *
 *   HEAPCOUNT_FILE=counts LD_PRELOAD=heapcount.so cloudgate-proxy
 *
 * The file holds six 64-bit numbers in the machine's order: calls of malloc, calloc, realloc, free
 * (NULL apart) and of the aligned ones, up to date at any time and of all threads; whoever asks
 * reads them before and after. The sixth is for looking into it: write N there, and the next N
 * calls tell on stderr where they come from. Must not use the heap itself. */
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MALLOC, CALLOC, REALLOC, FREE, ALIGNED, TRACE, COUNTERS };

#define FRAMES_MAX 12

/* glibc's own, below the names that are taken over here. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

static _Atomic uint64_t unshared[COUNTERS]; /* before there is a file, or without one */
static _Atomic uint64_t *counters = unshared;
static _Thread_local int is_tracing;

static void count(int which)
{
    atomic_fetch_add_explicit(&counters[which], 1, memory_order_relaxed);
    if (atomic_load_explicit(&counters[TRACE], memory_order_relaxed) == 0 || is_tracing)
        return;
    void *frames[FRAMES_MAX];
    is_tracing = 1;
    atomic_fetch_sub_explicit(&counters[TRACE], 1, memory_order_relaxed);
    backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MAX), STDERR_FILENO);
    ssize_t ignored = write(STDERR_FILENO, "\n", 1);
    (void)ignored;
    is_tracing = 0;
}

__attribute__((constructor)) static void share(void)
{
    const char *path = getenv("HEAPCOUNT_FILE");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    size_t size = COUNTERS * sizeof *counters;
    void *shared = ftruncate(fd, (off_t)size) == 0
                       ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                       : MAP_FAILED;
    close(fd);
    if (shared != MAP_FAILED)
        counters = shared;
}

void *malloc(size_t size)
{
    count(MALLOC);
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
    count(CALLOC);
    return __libc_calloc(number, size);
}

void *realloc(void *memory, size_t size)
{
    count(REALLOC);
    return __libc_realloc(memory, size);
}

void free(void *memory)
{
    if (memory == NULL)
        return;
    count(FREE);
    __libc_free(memory);
}

void *memalign(size_t alignment, size_t size)
{
    count(ALIGNED);
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    count(ALIGNED);
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    count(ALIGNED);
    void *made = __libc_memalign(alignment, size);
    if (made == NULL)
        return ENOMEM;
    *memory = made;
    return 0;
}
