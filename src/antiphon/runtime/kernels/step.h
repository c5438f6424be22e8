/* The argument of every kernel: one step of a program, which is a function with its tensors, sizes and numbers.
 *
 * A program is an array of steps; `run_steps` runs them in order, with no Python between them. The index of each
 * argument has a name in arguments.h, which compiler.py generates from table.py. Strides are counted in elements.
 * Float tensors are float32 unless a flag says float16, ids and slots are int64, masks are bytes (0 or 1). */
#ifndef ANTIPHON_STEP_H
#define ANTIPHON_STEP_H

#include <stdint.h>

#include "arguments.h"

typedef struct Step Step;
struct Step {
    void (*run)(const Step *step);
    void *p[MAX_TENSORS];  /* tensors; NULL where an optional one is left out */
    int64_t n[MAX_SIZES];  /* sizes, strides, flags */
    double f[MAX_NUMBERS]; /* floating-point numbers */
};

#define EXPORT __attribute__((visibility("default")))

/* Runs task(i, context) for i in [0, parts) on the threads of the pool (threads.c). */
void in_parallel(void (*task)(int64_t part, void *context), int64_t parts, void *context);
/* The number of threads, with the caller's. */
int64_t thread_count(void);

#endif
