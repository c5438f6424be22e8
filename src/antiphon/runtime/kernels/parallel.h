/* Division of a kernel's rows among the threads. */
#ifndef ANTIPHON_PARALLEL_H
#define ANTIPHON_PARALLEL_H

#include "step.h"

enum { MIN_PARALLEL_WORK = 1 << 16 };

typedef void (*Range)(const Step *s, int64_t from, int64_t to);

typedef struct {
    const Step *step;
    Range range;
    int64_t count, parts;
} Ranges;

static inline void run_range(int64_t part, void *context) {
    const Ranges *all = context;
    all->range(all->step, all->count * part / all->parts, all->count * (part + 1) / all->parts);
}

/* Runs range(s, from, to) over all of [0, count): in one equal part for each thread if `work` (about the number of
 * floats that are read) is large enough to wake the threads. */
static inline void in_ranges(const Step *s, Range range, int64_t count, int64_t work) {
    int64_t parts = work < MIN_PARALLEL_WORK ? 1 : thread_count();
    Ranges all = {s, range, count, parts < count ? parts : count};
    if (all.parts <= 1) range(s, 0, count);
    else in_parallel(run_range, all.parts, &all);
}

#endif
