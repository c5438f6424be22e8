/* Positions, slots and masks: what a step of decoding does with whole numbers. */
#include "step.h"

#include <string.h>

/* Each row holds what it has in `slot` itself: it is its own lane there, of W. */
static void own_lanes(int32_t *lanes, int64_t rows, int64_t stride, int64_t slot, int64_t width)
{
    for (int64_t r = 0; r < rows; r++)
        lanes[r * stride + slot] = (int32_t)(r % width);
}

/* New tokens take the next free slots of their row; padding (-1) takes the last slot of all, which no reader sees.
 * p: 0 positions of the slots (R, C + 1), 1 slots in use (R), 2 new positions (R or 1, L), 3 slots out (R, L),
 * 4 lanes int32 or NULL: those of attend.c, which learn who holds the new slots.
 * n: 0 R, 1 L, 2 C, 3 row stride of the new positions (0 where one row stands for all), 4 W, 5 rows of the lanes, which
 * are many where R is 1, 6 their stride. */
EXPORT void place(const Step *s)
{
    int64_t *held = s->p[0], *count = s->p[1], *slots = s->p[3];
    const int64_t *pos = s->p[2];
    const int64_t rows = s->n[0], length = s->n[1], capacity = s->n[2], stride = s->n[3];
    for (int64_t r = 0; r < rows; r++)
        for (int64_t l = 0; l < length; l++) {
            const int64_t new = pos[r * stride + l];
            const int64_t slot = new >= 0 && count[r] < capacity ? count[r] : capacity;
            held[r * (capacity + 1) + slot] = slot < capacity ? new : -1;
            count[r] += slot < capacity;
            slots[r * length + l] = slot;
            if (s->p[4] && rows == 1)
                own_lanes(s->p[4], s->n[5], s->n[6], slot, s->n[4]);
            else if (s->p[4])
                ((int32_t *)s->p[4])[r * s->n[6] + slot] = (int32_t)(r % s->n[4]);
        }
}

/* Which keys a query sees: real ones, and where causal those at no later position.
 * p: 0 query positions, 1 key positions, 2 out (B, 1, Q, K) bytes.
 * n: 0 B, 1 Q, 2 K, 3 causal, 4 row stride of the queries, 5 of the keys (0 where one row stands for all). */
EXPORT void sight(const Step *s)
{
    uint8_t *out = s->p[2];
    const int64_t rows = s->n[0], queries = s->n[1], keys = s->n[2], causal = s->n[3];
    for (int64_t b = 0; b < rows; b++) {
        const int64_t *q_pos = (const int64_t *)s->p[0] + b * s->n[4], *k_pos = (const int64_t *)s->p[1] + b * s->n[5];
        for (int64_t q = 0; q < queries; q++, out += keys)
            for (int64_t k = 0; k < keys; k++)
                out[k] = k_pos[k] >= 0 && (!causal || k_pos[k] <= q_pos[q]);
    }
}

/* Rows of x become zero where they are not valid. p: 0 x (B, L, D), 1 valid (B or 1, L) bytes, 2 out.
 * n: 0 B, 1 L, 2 D, 3 row stride of valid. */
EXPORT void blank(const Step *s)
{
    const float *x = s->p[0];
    const uint8_t *valid = s->p[1];
    float *out = s->p[2];
    const int64_t rows = s->n[0], length = s->n[1], size = s->n[2], stride = s->n[3];
    for (int64_t b = 0; b < rows; b++)
        for (int64_t l = 0; l < length; l++, x += size, out += size) {
            if (valid[b * stride + l])
                memcpy(out, x, (size_t)size * sizeof(float));
            else
                memset(out, 0, (size_t)size * sizeof(float));
        }
}

/* Whole numbers compared with one: p: 0 numbers, 2 out bytes. n: 0 count, 1 the number. */
EXPORT void at_least(const Step *s)
{
    const int64_t *numbers = s->p[0], least = s->n[1];
    uint8_t *out = s->p[2];
    for (int64_t i = 0; i < s->n[0]; i++)
        out[i] = numbers[i] >= least;
}

/* Whole numbers, none below one: p: 0 numbers, 2 out. n: 0 count, 1 the number. */
EXPORT void raise_to(const Step *s)
{
    const int64_t *numbers = s->p[0], least = s->n[1];
    int64_t *out = s->p[2];
    for (int64_t i = 0; i < s->n[0]; i++)
        out[i] = numbers[i] > least ? numbers[i] : least;
}

/* What all rows share is added to each: p: 0 x, 1 shared, 2 out. n: 0 count, 1 size of what is shared. */
EXPORT void add_shared(const Step *s)
{
    const float *x = s->p[0], *shared = s->p[1];
    float *out = s->p[2];
    for (int64_t first = 0; first < s->n[0]; first += s->n[1])
        for (int64_t i = 0; i < s->n[1]; i++)
            out[first + i] = x[first + i] + shared[i];
}
