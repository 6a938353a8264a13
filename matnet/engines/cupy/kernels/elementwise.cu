// Functions of one place: scale, bias, a second array and ReLU in one pass, and sums of several arrays.
//
// `out` may be an input: a thread reads its V values before it writes them.

// V factors of neighbouring channels, 16 bytes at once.
template <int V, typename S> __device__ __forceinline__ void load_factors(float (&factors)[V], const S* place) {
    constexpr int W = V * sizeof(S) > 16 ? 16 / sizeof(S) : V;
#pragma unroll
    for (int first = 0; first < V; first += W) {
        float part[W];
        load(part, place + first);
#pragma unroll
        for (int w = 0; w < W; ++w) factors[first + w] = part[w];
    }
}

enum Scaling { UNSCALED, PER_CHANNEL, PER_IMAGE };  // PER_IMAGE: N x C factors

// `inner` is how many groups of V values share their channel (1 and LAST: V channels are in one group), `image` how
// many groups an image has. S is how the factors are stored.
template <typename T, typename S, int V, bool LAST, int SCALE, bool BIAS, bool ADD, int ACTIVATION, typename I>
__global__ void affine(const T* x, const T* other, T* out, const S* __restrict__ scale,
                       const float* __restrict__ bias, I total, I inner, I image, int channels, float leak) {
    for (I i = first_index<I>(); i < total; i += index_step<I>()) {
        const int channel = LAST ? (int)(i % (channels / V)) * V : (int)(i / inner % channels);
        float values[V], factors[V], offsets[V], added[V];
        load(values, x + i * V);
        const I factor = SCALE == PER_IMAGE ? i / image * channels + channel : channel;
        if (SCALE && LAST) load_factors(factors, scale + factor);
        if (SCALE && !LAST) fill(factors, to_float(scale[factor]));
        if (BIAS && LAST) load_factors(offsets, bias + channel);
        if (BIAS && !LAST) fill(offsets, bias[channel]);
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
template <typename T, int V, int COUNT, int ACTIVATION, typename I>
__global__ void sum(const T* a, const T* b, const T* c, const T* d, T* out, I total, float leak) {
    for (I i = first_index<I>(); i < total; i += index_step<I>()) {
        const T* parts[4] = {a, b, c, d};
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
