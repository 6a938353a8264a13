// Elementwise kernels: scale, bias, a second array and ReLU in one pass, sums, and concatenation.
//
// In `affine` and `sum` `out` may be an input: a thread reads its V values before it writes them.

// V factors of neighbouring channels, 16 bytes per load.
template <int V> __device__ __forceinline__ void load_factors(float (&factors)[V], const float* place) {
    constexpr int W = V > 4 ? 4 : V;
#pragma unroll
    for (int first = 0; first < V; first += W) {
        float part[W];
        load(part, place + first);
#pragma unroll
        for (int w = 0; w < W; ++w) factors[first + w] = part[w];
    }
}

template <typename S, typename T, int V, bool SCALE, bool BIAS, bool ADD, int ACTIVATION, typename I>
__global__ void affine(const S* x, const S* other, T* out, const float* __restrict__ scale,
                       const float* __restrict__ bias, I total, int groups, float leak) {
    for (I i = first_index<I>(); i < total; i += index_step<I>()) {
        const int channel = (int)(i % groups) * V;
        float values[V], factors[V], offsets[V], added[V];
        load(values, x + i * V);
        if (SCALE) load_factors(factors, scale + channel);
        if (BIAS) load_factors(offsets, bias + channel);
        if (ADD) load(added, other + i * V);
#pragma unroll
        for (int v = 0; v < V; ++v) {
            if (SCALE) values[v] *= factors[v];
            if (BIAS) values[v] += offsets[v];
            if (ADD) values[v] += added[v];
            values[v] = activated<ACTIVATION>(values[v], leak);
        }
        store(out + i * V, values);
    }
}

// a + b (+ c (+ d)), from left to right; pointers beyond COUNT are not read.
template <typename S, typename T, int V, int COUNT, int ACTIVATION, typename I>
__global__ void sum(const S* a, const S* b, const S* c, const S* d, T* out, I total, float leak) {
    for (I i = first_index<I>(); i < total; i += index_step<I>()) {
        const S* parts[4] = {a, b, c, d};
        float result[V], values[V];
        load(result, a + i * V);
#pragma unroll
        for (int k = 1; k < COUNT; ++k) {
            load(values, parts[k] + i * V);
#pragma unroll
            for (int v = 0; v < V; ++v) result[v] += values[v];
        }
#pragma unroll
        for (int v = 0; v < V; ++v) result[v] = activated<ACTIVATION>(result[v], leak);
        store(out + i * V, result);
    }
}

// Concatenated channels of a, b, c and d, from group `first` of `out_groups` on. Missing arrays have 0 `groups`.
template <typename S, typename T, int V, typename I>
__global__ void join(const S* a, const S* b, const S* c, const S* d, T* __restrict__ out, I total, int groups_a,
                     int groups_b, int groups_c, int groups_d, int first, int out_groups) {
    const S* parts[4] = {a, b, c, d};
    const int counts[4] = {groups_a, groups_b, groups_c, groups_d};
    const int groups = groups_a + groups_b + groups_c + groups_d;
    for (I i = first_index<I>(); i < total; i += index_step<I>()) {
        const I pixel = i / groups;
        const int place = (int)(i % groups);
        int group = place, k = 0;
        while (group >= counts[k]) group -= counts[k++];
        float values[V];
        load(values, parts[k] + (pixel * counts[k] + group) * V);
        store(out + (pixel * out_groups + first + place) * V, values);
    }
}
