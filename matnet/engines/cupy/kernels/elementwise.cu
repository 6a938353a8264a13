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

// `inner` is how many groups share their channel (with channels first), `image` how many an image has. F is how the
// factors are stored.
template <typename S, typename T, typename F, int V, bool LAST, int SCALE, bool BIAS, bool ADD, int ACTIVATION,
          typename I>
__global__ void affine(const S* x, const S* other, T* out, const F* __restrict__ scale,
                       const float* __restrict__ bias, I total, I inner, I image, int channels, I pitch,
                       I other_pitch, I out_pitch, float leak) {
    const int groups = LAST ? channels / V : 1;
    for (I i = first_index<I>(); i < total; i += index_step<I>()) {
        const I pixel = i / groups;
        const int first = (int)(i % groups) * V, channel = LAST ? first : (int)(i / inner % channels);
        float values[V], factors[V], offsets[V], added[V];
        load(values, x + pixel * pitch + first);
        const I factor = SCALE == PER_IMAGE ? i / image * channels + channel : channel;
        if (SCALE && LAST) load_factors(factors, scale + factor);
        if (SCALE && !LAST) fill(factors, to_float(scale[factor]));
        if (BIAS && LAST) load_factors(offsets, bias + channel);
        if (BIAS && !LAST) fill(offsets, bias[channel]);
        if (ADD) load(added, other + pixel * other_pitch + first);
#pragma unroll
        for (int v = 0; v < V; ++v) {
            if (SCALE) values[v] *= factors[v];
            if (BIAS) values[v] += offsets[v];
            if (ADD) values[v] += added[v];
            values[v] = activated<ACTIVATION>(values[v], leak);
        }
        store(out + pixel * out_pitch + first, values);
    }
}

// a + b (+ c (+ d)), from left to right; pointers beyond COUNT are not read. Where all arrays are contiguous, all of
// their values are one pixel's.
template <typename S, typename T, int V, int COUNT, int ACTIVATION, typename I>
__global__ void sum(const S* a, const S* b, const S* c, const S* d, T* out, I total, I groups, I pitch_a, I pitch_b,
                    I pitch_c, I pitch_d, I out_pitch, float leak) {
    for (I i = first_index<I>(); i < total; i += index_step<I>()) {
        const S* parts[4] = {a, b, c, d};
        const I pitches[4] = {pitch_a, pitch_b, pitch_c, pitch_d}, pixel = i / groups, first = i % groups * V;
        float result[V], values[V];
        load(result, a + pixel * pitch_a + first);
#pragma unroll
        for (int k = 1; k < COUNT; ++k) {
            load(values, parts[k] + pixel * pitches[k] + first);
#pragma unroll
            for (int v = 0; v < V; ++v) result[v] += values[v];
        }
#pragma unroll
        for (int v = 0; v < V; ++v) result[v] = activated<ACTIVATION>(result[v], leak);
        store(out + pixel * out_pitch + first, result);
    }
}
