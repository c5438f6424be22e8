/* Softmax attention of few queries over a cache (Vaswani et al. 2017, eq. 1): only what is visible is read.
 *
 * The visible places of a row are listed first. Scores and sums then run over that list, tile by tile, with the running
 * maximum and sum of Milakov and Gimelshein (2018), so that an answer depends on nothing that is hidden: neither on
 * what a hidden place holds nor on how many there are. */
#include <stddef.h>

#include "shares.h"
#include "softmax.h"

enum { TILE = 256, QUERIES = 8 }; /* keys and queries at a time */

/* Where a row of the batch finds its keys and values, from its own row on. `lane[c]` is which of the `W` hypotheses of
 * a source holds place c of this one's history, this one being `own`; NULL: each holds its own. */
typedef struct {
    const int32_t *lane;
    int64_t own, k_row, v_row, k_place, v_place;
} History;

/* A tile of visible places: which, how many, where their keys and values are, and where the search goes on. */
typedef struct {
    int64_t count, next;
    int32_t place[TILE + LANES];
    int64_t k_at[TILE + LANES], v_at[TILE + LANES];
} Tile;

/* The queries that share keys and a row of the mask, and what is known of their softmax so far. */
typedef struct {
    const void *k, *v; /* of floats, or of half-precision numbers */
    int64_t D, bias_stride;
    int64_t count;
    const float *q[QUERIES], *bias[QUERIES];
    float *out[QUERIES];
    float most[QUERIES], sum[QUERIES]; /* the largest logit; the sum of exp(logit - most) */
    float kept[QUERIES];               /* by how much what is summed before this tile shrinks */
    float weight[QUERIES][TILE + LANES];
} Block;

static void find_places(Tile *tile, const History *history) {
    for (int64_t i = 0; i < tile->count; i++) {
        int64_t c = tile->place[i], away = history->lane ? history->lane[c] - history->own : 0;
        tile->k_at[i] = away * history->k_row + c * history->k_place;
        tile->v_at[i] = away * history->v_row + c * history->v_place;
    }
}

static void next_tile(Tile *tile, const History *history, const uint8_t *visible, int64_t stride, int64_t C) {
    int64_t n = 0, c = tile->next;
    while (c < C && n < TILE) {
        if (visible && stride == 1 && c + 8 <= C) {
            uint64_t eight;
            memcpy(&eight, visible + c, sizeof eight);
            if (eight == 0) {
                c += 8;
                continue;
            }
        }
        int64_t stop = c + 8 < C ? c + 8 : C;
        if (stop - c > TILE - n) stop = c + TILE - n;
        for (; c < stop; c++) {
            tile->place[n] = (int32_t)c;
            n += !visible || visible[c * stride];
        }
    }
    tile->count = n;
    tile->next = c;
    find_places(tile, history);
}

/* Eight numbers, or the first `count` (below 8), of a key or value. */
INLINE Floats kept8(const void *all, int64_t at, const int half) {
    return half ? load8_half((const uint16_t *)all + at) : load8((const float *)all + at);
}
INLINE Floats kept_some(const void *all, int64_t at, int64_t count, const int half) {
    if (!half) return load_some((const float *)all + at, count);
    uint16_t held[LANES] = {0};
    memcpy(held, (const uint16_t *)all + at, sizeof *held * (size_t)count);
    return load8_half(held);
}

/* q . k of `queries` queries from `first` on with all keys of the tile, 8 products at a time. Every product is summed
 * in the same order whatever stands beside it. */
INLINE void scores(Block *b, const Tile *tile, int64_t first, const int queries, const int half) {
    const int keys = LANES / queries;
    const int64_t last = tile->count - 1, D = b->D;
    for (int64_t i = 0; i <= last; i += keys) {
        int64_t k[LANES];
        Floats sums[LANES];
        for (int j = 0; j < keys; j++) k[j] = tile->k_at[i + j < last ? i + j : last];
        for (int j = 0; j < LANES; j++) sums[j] = all8(0);
        int64_t d = 0;
        for (; d + LANES <= D; d += LANES) {
            Floats key[LANES]; /* loaded once, which the compiler does not see by itself */
            for (int j = 0; j < keys; j++) key[j] = kept8(b->k, k[j] + d, half);
            for (int m = 0; m < queries; m++) {
                Floats q = load8(b->q[first + m] + d);
                for (int j = 0; j < keys; j++) sums[m * keys + j] += q * key[j];
            }
        }
        if (d < D)
            for (int m = 0; m < queries; m++) {
                Floats q = load_some(b->q[first + m] + d, D - d);
                for (int j = 0; j < keys; j++) sums[m * keys + j] += q * kept_some(b->k, k[j] + d, D - d, half);
            }
        Floats all = sums8(sums);
        for (int m = 0; m < queries; m++)
            memcpy(b->weight[first + m] + i, (const float *)&all + m * keys, (size_t)keys * sizeof(float));
    }
}

/* The scores of query m become logits, then weights exp(logit - most); `most`, `sum` and `kept` follow. */
static void weigh(Block *b, const Tile *tile, int64_t m, float factor) {
    const int64_t n = tile->count, padded = (n + LANES - 1) / LANES * LANES;
    const Words lane = {0, 1, 2, 3, 4, 5, 6, 7};
    const float before = b->most[m], *bias = b->bias[m];
    float *w = b->weight[m];
    Floats most = all8(before), sums = all8(0);
    if (bias)
        for (int64_t i = 0; i < n; i++) w[i] = w[i] * factor + bias[tile->place[i] * b->bias_stride];
    for (int64_t i = n; i < padded; i++) w[i] = w[n - 1]; /* counts in the maximum already */
    for (int64_t i = 0; i < padded; i += LANES) {
        Floats logits = bias ? load8(w + i) : load8(w + i) * factor;
        most = at_least8(logits, most);
        store8(w + i, logits);
    }
    const float after = max_of(most), shift = after == -INFINITY ? 0 : after;
    for (int64_t i = 0; i < padded; i += LANES) {
        Floats e = choose8(lane < (int32_t)(n - i), exp8(load8(w + i) - shift), all8(0));
        sums += e;
        store8(w + i, e);
    }
    b->kept[m] = before == after ? 1 : before == -INFINITY ? 0 : expf(before - shift);
    b->sum[m] = b->sum[m] * b->kept[m] + sum_of(sums);
    b->most[m] = after;
}

/* out = kept * out + the weighted sum of values, of `queries` queries and 8 `wide` numbers from d on. */
INLINE void values(Block *b, const Tile *tile, int64_t first, const int queries, int64_t d, const int wide,
                   const int half) {
    Floats sums[LANES];
    const float *weight = b->weight[first];
    const int64_t *at = tile->v_at, count = tile->count;
    for (int m = 0; m < queries; m++)
        for (int j = 0; j < wide; j++) sums[m * wide + j] = load8(b->out[first + m] + d + j * LANES) * b->kept[first + m];
    for (int64_t i = 0; i < count; i++) {
        Floats value[LANES];
        for (int j = 0; j < wide; j++) value[j] = kept8(b->v, at[i] + d + j * LANES, half);
        for (int m = 0; m < queries; m++) {
            Floats part = all8(weight[m * (TILE + LANES) + i]);
            for (int j = 0; j < wide; j++) sums[m * wide + j] += value[j] * part;
        }
    }
    for (int m = 0; m < queries; m++)
        for (int j = 0; j < wide; j++) store8(b->out[first + m] + d + j * LANES, sums[m * wide + j]);
}

/* The numbers after the last eight. */
INLINE void values_rest(Block *b, const Tile *tile, int64_t m, int64_t d, const int half) {
    Floats sum = load_some(b->out[m] + d, b->D - d) * b->kept[m];
    for (int64_t i = 0; i < tile->count; i++)
        sum += kept_some(b->v, tile->v_at[i] + d, b->D - d, half) * b->weight[m][i];
    store_some(b->out[m] + d, sum, b->D - d);
}

INLINE void add_tile(Block *b, const Tile *tile, int64_t first, const int queries, float factor, const int half) {
    const int wide = LANES / queries;
    int64_t d = 0;
    scores(b, tile, first, queries, half);
    for (int m = 0; m < queries; m++) weigh(b, tile, first + m, factor);
    for (; d + LANES * wide <= b->D; d += LANES * wide) values(b, tile, first, queries, d, wide, half);
    for (; d + LANES <= b->D; d += LANES) values(b, tile, first, queries, d, 1, half);
    if (d < b->D)
        for (int m = 0; m < queries; m++) values_rest(b, tile, first + m, d, half);
}

/* All of a block's visible places; `tile` holds the first of them. */
INLINE void attend_block(Block *b, Tile *tile, const History *history, const uint8_t *visible, int64_t stride, int64_t C,
                         float factor, const int half) {
    for (int64_t m = 0; m < b->count; m++) memset(b->out[m], 0, (size_t)b->D * sizeof(float));
    for (;;) {
        int64_t m = 0;
        if (tile->count) {
            for (; m + 4 <= b->count; m += 4) add_tile(b, tile, m, 4, factor, half);
            for (; m + 2 <= b->count; m += 2) add_tile(b, tile, m, 2, factor, half);
            for (; m < b->count; m++) add_tile(b, tile, m, 1, factor, half);
        }
        if (tile->next >= C) break;
        next_tile(tile, history, visible, stride, C);
    }
    for (int64_t m = 0; m < b->count; m++) {
        const float part = b->sum[m] == 0 ? 0 : 1 / b->sum[m];
        for (int64_t d = 0; d < b->D; d++) b->out[m][d] *= part;
    }
}

/* Query `query` of head h joins the block, with the sinks' logits in its denominator. */
static void join(const Step *s, Block *block, int64_t b, int64_t h, int64_t query) {
    const int64_t *n = s->n, m = block->count++;
    block->q[m] = (const float *)s->p[0] + b * n[6] + h * n[7] + query * n[8];
    block->bias[m] = s->p[4] ? (const float *)s->p[4] + b * n[19] + h * n[20] + query * n[21] : NULL;
    block->out[m] = (float *)s->p[6] + b * n[23] + query * n[24] + h * n[25];
    float most = -INFINITY, sum = 0;
    if (s->p[5]) {
        const float *extra = (const float *)s->p[5] + h * n[26];
        for (int64_t e = 0; e < n[26]; e++) most = extra[e] > most ? extra[e] : most;
        for (int64_t e = 0; e < n[26]; e++) sum += most == -INFINITY ? 0 : expf(extra[e] - most);
    }
    block->most[m] = most;
    block->sum[m] = sum;
}

/* Sources and key heads [from, to), counted b * G + g: the queries of a key head in blocks that share a mask's row. */
INLINE void attend_some(const Step *s, int64_t from, int64_t to, const int half) {
    const int64_t *n = s->n, G = n[2], Q = n[3], C = n[4], share = n[1] / G;
    const int one_mask = !s->p[3] || ((share == 1 || n[16] == 0) && (Q == 1 || n[17] == 0));
    const uint8_t *listed = NULL;
    int64_t listed_for = -1; /* the row whose history they are, where each has its own */
    int whole = 0;           /* all that is visible in `listed` is in the tile */
    Tile tile;
    Block block;
    History history = {.k_row = n[9], .v_row = n[12], .k_place = n[11], .v_place = n[14]};
    for (int64_t part = from; part < to; part++) {
        int64_t b = part / G, g = part % G;
        const int64_t size = half ? sizeof(uint16_t) : sizeof(float);
        block.k = (const char *)s->p[1] + (b * n[9] + g * n[10]) * size;
        block.v = (const char *)s->p[2] + (b * n[12] + g * n[13]) * size;
        block.D = n[5], block.bias_stride = n[22];
        if (s->p[7]) history.lane = (const int32_t *)s->p[7] + b * n[27], history.own = b % n[28];
        for (int64_t i = 0; i < share * Q;) {
            int64_t h = g * share + i / Q, most = one_mask ? QUERIES : 1;
            const uint8_t *visible = s->p[3] ? (const uint8_t *)s->p[3] + b * n[15] + h * n[16] + i % Q * n[17] : NULL;
            block.count = 0;
            for (; i < share * Q && block.count < most; i++) join(s, &block, b, g * share + i / Q, i % Q);
            if (!whole || visible != listed || (history.lane && listed_for != b)) {
                tile.next = 0;
                next_tile(&tile, &history, visible, n[18], C);
                listed = visible, listed_for = b;
                whole = tile.next >= C;
            }
            attend_block(&block, &tile, &history, visible, n[18], C, (float)s->f[0], half);
        }
    }
}

static void attend_heads(const Step *s, int64_t from, int64_t to) { attend_some(s, from, to, 0); }
static void attend_half(const Step *s, int64_t from, int64_t to) { attend_some(s, from, to, 1); }

/* p: q (B, H, Q, D), k and v (B, G, C, D), where query head h reads key head h / (H / G), visible (B or 1, H or 1, Q or
 * 1, C) bytes or NULL, bias of the same form or NULL, sinks (H, E): logits that join the denominator only, or NULL, out
 * (B, Q, H, D), lanes int32 (B, C) or NULL: which of the W rows of its group holds each place of a row's history. n: B,
 * H, G, Q, C, D, strides of q (b, h, q), k (b, g, c), v (b, g, c), visible (b, h, q, c), bias (b, h, q, c), out (b, q,
 * h), E, row stride of lanes, W, whether k and v are half-precision numbers. f: scale. A query that sees nothing gives
 * zeros. */
EXPORT void attend(const Step *s) {
    const int64_t *n = s->n;
    in_shares(s, n[29] ? attend_half : attend_heads, n[0] * n[2], n[0] * n[1] * n[3] * n[4] * n[5]);
}
