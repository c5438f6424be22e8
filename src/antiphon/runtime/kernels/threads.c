/* The thread pool of the kernels, whose helper threads spin for a short time for the next task, then sleep; and the
 * function that runs programs.
 *
 * One call of in_parallel at a time uses the helpers. A call from another thread, or from inside a task, runs on its
 * own thread alone, so that no call waits for the parts of another. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "step.h"

enum { MAX_THREADS = 256, SPIN_PAUSES = 1000 }; /* a pause is 40 to 140 cycles: 15 to 50 microseconds */
#define OPEN (1ull << 31)                       /* of `state`: helpers may join */

/* The current task. `state` is its number (from bit 32), OPEN, and the number of helpers that work on it. */
static void (*current_task)(int64_t part, void *context);
static void *current_context;
static int64_t current_parts;
static _Atomic int64_t next_part;
static _Atomic uint64_t state;

static atomic_flag busy = ATOMIC_FLAG_INIT; /* set by the caller that uses the helpers */
static _Atomic int64_t wanted = 1;          /* threads, with the caller's */
static pthread_t helpers[MAX_THREADS];
static int64_t started; /* helpers that run; read and written under `busy` */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static _Atomic int64_t sleepers;
static _Atomic bool stopping;

static void pause_a_little(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void work(void) {
    for (int64_t part; (part = atomic_fetch_add_explicit(&next_part, 1, memory_order_relaxed)) < current_parts;)
        current_task(part, current_context);
}

/* Whether there is a task that the helper has not seen, or the pool stops. */
static bool called(uint64_t now, uint64_t seen) {
    return atomic_load(&stopping) || ((now & OPEN) && now >> 32 != seen);
}

static void *help(void *unused) {
    (void)unused;
    uint64_t seen = 0;
    while (!atomic_load(&stopping)) {
        uint64_t now = atomic_load(&state);
        for (int64_t spin = 0; !called(now, seen) && spin < SPIN_PAUSES; spin++) {
            pause_a_little();
            now = atomic_load(&state);
        }
        if (!called(now, seen)) {
            pthread_mutex_lock(&lock);
            atomic_fetch_add(&sleepers, 1); /* before the last check: a task that opens later sees a sleeper */
            while (!called(atomic_load(&state), seen)) pthread_cond_wait(&wake, &lock);
            atomic_fetch_sub(&sleepers, 1);
            pthread_mutex_unlock(&lock);
        } else if (!atomic_load(&stopping) && atomic_compare_exchange_strong(&state, &now, now + 1)) {
            work();
            seen = now >> 32;
            atomic_fetch_sub(&state, 1);
        }
    }
    return NULL;
}

static void wake_sleepers(void) {
    if (atomic_load(&sleepers) == 0) return;
    pthread_mutex_lock(&lock);
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
}

/* Starts the missing helpers; fewer if the system refuses more threads. */
static void start(void) {
    while (started < atomic_load(&wanted) - 1 && pthread_create(&helpers[started], NULL, help, NULL) == 0) started++;
}

void in_parallel(void (*task)(int64_t part, void *context), int64_t parts, void *context) {
    if (parts <= 1 || atomic_load_explicit(&wanted, memory_order_relaxed) <= 1 || atomic_flag_test_and_set(&busy)) {
        for (int64_t part = 0; part < parts; part++) task(part, context);
        return;
    }
    start();
    current_task = task;
    current_context = context;
    current_parts = parts;
    atomic_store(&next_part, 0);
    uint64_t number = (atomic_load(&state) >> 32) + 1;
    number += (uint32_t)number == 0; /* 0 is what a new helper has seen */
    atomic_store(&state, (uint64_t)(uint32_t)number << 32 | OPEN);
    wake_sleepers();
    work();
    atomic_fetch_and(&state, ~OPEN); /* late helpers find no task; the others finish their part */
    for (int64_t spin = 0; atomic_load(&state) & (OPEN - 1); spin++)
        spin < SPIN_PAUSES ? pause_a_little() : (void)sched_yield();
    atomic_flag_clear(&busy);
}

EXPORT int64_t thread_count(void) { return atomic_load_explicit(&wanted, memory_order_relaxed); }

/* Sets the number of threads (1 to 256, with the caller's); waits for the current task. */
EXPORT void set_threads(int64_t count) {
    count = count < 1 ? 1 : count > MAX_THREADS ? MAX_THREADS : count;
    while (atomic_flag_test_and_set(&busy)) sched_yield();
    if (count - 1 < started) {
        atomic_store(&stopping, true);
        wake_sleepers();
        while (started > 0) pthread_join(helpers[--started], NULL);
        atomic_store(&stopping, false);
    }
    atomic_store(&wanted, count);
    atomic_flag_clear(&busy);
}

/* A forked child has the caller's thread only. */
static void after_fork(void) {
    started = 0;
    atomic_store(&sleepers, 0);
    atomic_store(&stopping, false);
    atomic_store(&state, 0);
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&wake, NULL);
    atomic_flag_clear(&busy);
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, after_fork); }

/* Runs the steps of a program in order. */
EXPORT void run_steps(const Step *steps, int64_t count) {
    for (int64_t i = 0; i < count; i++) steps[i].run(steps + i);
}
