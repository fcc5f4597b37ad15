// One step of the decoder: a token of every row, where a row is a beam of an input. What differs between inputs (lengths, beams,
// where their caches lie) is read from a description in device memory, so that one recorded graph serves them all.
//
// Where the chip can, a kernel begins before the one ahead of it has ended: it fetches weights, which nothing writes, and waits
// before it reads or writes anything else. Every thread has to wait, so that the end of a kernel means the end of all before it.
#pragma once

#include "common.cuh"

// The description of a step; step/plan.rs writes it.

struct Row {
    uint32_t token, position;
    int32_t input; // -1: nobody's
    uint32_t beam;
    float score;              // running sum of log-probabilities
    uint32_t take;            // candidates wanted, 0 for none
    uint32_t bans, ban_count; // tokens that may not come: where they begin, in bytes from the description's start
    uint32_t ancestry;        // in whose place each earlier token was written, a byte each: likewise
    uint32_t reserved[3];
};

struct Input {
    unsigned long long own;   // [layers, capacity, beams, 2, width]
    unsigned long long cross; // [layers, positions, 2, width]
    uint32_t capacity, beams;
    uint32_t length; // tokens that were written before this one
    uint32_t positions, first_row;
    uint32_t reserved[3];
};

// A product whose inner axis was split: parts [splits, rows, outer], to be added up in order, and the bias.
template <typename T> struct Parts {
    const float *values;
    const T *bias;
    int splits;
    size_t rows, outer;

    // Eight neighbouring values, from a column that is a multiple of eight.
    __device__ __forceinline__ void load(size_t row, size_t column, float (&sum)[8]) const {
        load8(bias + column, sum);
        for (int split = 0; split < splits; split++) {
            float more[8];
            load8(values + (split * rows + row) * outer + column, more);
#pragma unroll
            for (int j = 0; j < 8; j++) sum[j] += more[j];
        }
    }
};
