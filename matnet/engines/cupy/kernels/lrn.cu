// Normalisation across channels: x (kappa + alpha sum x^2)^-beta over BELOW channels down and ABOVE up.

template <bool ROOTS> __device__ __forceinline__ float normalized(float x, float sum, float alpha, float kappa, float beta) {
    const float base = kappa + alpha * sum;
    if (ROOTS) {  // beta 0.75: square roots are exact and quicker than a power
        const float root = sqrtf(base);
        return x * (1.0f / (root * sqrtf(root)));
    }
    return x * powf(base, -beta);
}

// Channels last: each thread owns V channels of one pixel and sees its neighbours' through the first-level cache.
template <typename S, typename T, int V, int BELOW, int ABOVE, bool ROOTS, typename I>
__global__ void lrn_last(const S* __restrict__ x, T* __restrict__ out, I total, int groups, I pitch, I out_pitch,
                         float alpha, float kappa, float beta) {
    constexpr int LEFT = (BELOW + V - 1) / V, RIGHT = (ABOVE + V - 1) / V;
    for (I i = first_index<I>(); i < total; i += index_step<I>()) {
        const int group = (int)(i % groups);
        const I pixel = i / groups;
        float square[LEFT + 1 + RIGHT][V], own[V];
#pragma unroll
        for (int g = -LEFT; g <= RIGHT; ++g) {
            float values[V];
            fill(values, 0.0f);
            if (group + g >= 0 && group + g < groups) load(values, x + pixel * pitch + (group + g) * V);
#pragma unroll
            for (int v = 0; v < V; ++v) {
                square[LEFT + g][v] = values[v] * values[v];
                if (g == 0) own[v] = values[v];
            }
        }
#pragma unroll
        for (int v = 0; v < V; ++v) {
            float sum = 0.0f;
#pragma unroll
            for (int k = -BELOW; k <= ABOVE; ++k) sum += square[(LEFT * V + v + k) / V][(LEFT * V + v + k) % V];
            own[v] = normalized<ROOTS>(own[v], sum, alpha, kappa, beta);
        }
        store(out + pixel * out_pitch + group * V, own);
    }
}

// Channels first: each thread walks down `chunk` channels of V pixels, with the window in registers. blockIdx.y is
// the chunk, so that a few pixels still fill the GPU; chunks read each other's borders.
template <typename S, typename T, int V, int BELOW, int ABOVE, bool ROOTS, typename I>
__global__ void lrn_first(const S* __restrict__ x, T* __restrict__ out, I total, I plane, int channels, int chunk,
                          float alpha, float kappa, float beta) {
    constexpr int WINDOW = BELOW + 1 + ABOVE;
    const I groups = plane / V;
    const int begin = blockIdx.y * chunk, end = at_most(begin + chunk, channels);
    for (I i = first_index<I>(); i < total; i += index_step<I>()) {
        const I start = i / groups * plane * channels + i % groups * V;
        float window[WINDOW][V];
#pragma unroll
        for (int k = 0; k < WINDOW - 1; ++k) {
            const int channel = begin - BELOW + k;
            fill(window[k], 0.0f);
            if (channel >= 0 && channel < channels) load(window[k], x + start + channel * plane);
        }
        for (int channel = begin; channel < end; ++channel) {
            fill(window[WINDOW - 1], 0.0f);
            if (channel + ABOVE < channels) load(window[WINDOW - 1], x + start + (channel + ABOVE) * plane);
            float result[V];
#pragma unroll
            for (int v = 0; v < V; ++v) {
                float sum = 0.0f;
#pragma unroll
                for (int k = 0; k < WINDOW; ++k) sum += window[k][v] * window[k][v];
                result[v] = normalized<ROOTS>(window[BELOW][v], sum, alpha, kappa, beta);
            }
            store(out + start + channel * plane, result);
#pragma unroll
            for (int k = 0; k < WINDOW - 1; ++k) {
#pragma unroll
                for (int v = 0; v < V; ++v) window[k][v] = window[k + 1][v];
            }
        }
    }
}

// Windows too long for registers: each thread sums its own, which the caches hold.
template <typename S, typename T, bool LAST, bool ROOTS, typename I>
__global__ void lrn_long(const S* __restrict__ x, T* __restrict__ out, I total, I plane, int channels, I pitch,
                         I out_pitch, int below, int above, float alpha, float kappa, float beta) {
    for (I i = first_index<I>(); i < total; i += index_step<I>()) {
        const int channel = (int)(LAST ? i % channels : i / plane % channels);
        const I from = LAST ? i / channels * pitch + channel : i, to = LAST ? i / channels * out_pitch + channel : i;
        const I step = LAST ? 1 : plane;
        const int low = at_most(below, channel), high = at_most(above, channels - 1 - channel);
        float sum = 0.0f;
        for (int k = -low; k <= high; ++k) {
            const float value = to_float(x[from + k * step]);
            sum += value * value;
        }
        set(out[to], normalized<ROOTS>(to_float(x[from]), sum, alpha, kappa, beta));
    }
}
