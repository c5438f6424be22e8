/* What every kernel is given: one step of a program, a function with its tensors, sizes and numbers.
 *
 * A program is an array of steps; `run_steps` runs them in order, with no Python between them. Strides are counted in
 * elements. Pointers to float tensors are float32, ids and slots are int64, masks are bytes (0 or 1). */
#ifndef ANTIPHON_STEP_H
#define ANTIPHON_STEP_H

#include <stdint.h>

typedef struct Step Step;
struct Step {
    void (*run)(const Step *step);
    void *p[8];    /* tensors; NULL where an optional one is left out */
    int64_t n[32]; /* sizes, strides, flags */
    double f[2];
};

enum { PLAIN, RELU, GELU, GELU_TANH, SILU }; /* activations */

#define EXPORT __attribute__((visibility("default")))

/* Work in equal parts on the threads of the pool (threads.c): task(i, context) for i in [0, parts). */
void in_parallel(void (*task)(int64_t part, void *context), int64_t parts, void *context);
/* How many threads there are, the caller's included. */
int64_t thread_count(void);

#endif
