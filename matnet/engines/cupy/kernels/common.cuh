// Shared code of all kernels: storage types, vector loads, and loops over more elements than threads.
//
// This text is prepended to each kernel's source, so that no include path is needed. S and T: storage types of input
// and output (float or float16); arithmetic is always in float. V: number of values per load and store, at most 16
// bytes. I: index type, int or long long. Arrays are contiguous N x H x W x C, and read in groups of V channels.

// CUDA's __half without its header, which NVRTC would have to find.
struct float16 {
    unsigned short bits;
};

#ifndef CUDA_ON_CPU
__device__ __forceinline__ float half_to_float(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ __forceinline__ unsigned short float_to_half(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(float16 value) { return half_to_float(value.bits); }
__device__ __forceinline__ void set(float& target, float value) { target = value; }
__device__ __forceinline__ void set(float16& target, float value) { target.bits = float_to_half(value); }

template <int BYTES> struct Word;
template <> struct Word<2> { typedef unsigned short type; };
template <> struct Word<4> { typedef unsigned int type; };
template <> struct Word<8> { typedef uint2 type; };
template <> struct Word<16> { typedef uint4 type; };

template <typename T, int V> union Pack {
    typename Word<V * sizeof(T)>::type word;
    T item[V];
};

template <int V, typename T> __device__ __forceinline__ void load(float (&values)[V], const T* place) {
    Pack<T, V> pack;
    pack.word = *reinterpret_cast<const typename Word<V * sizeof(T)>::type*>(place);
#pragma unroll
    for (int v = 0; v < V; ++v) values[v] = to_float(pack.item[v]);
}

template <int V, typename T> __device__ __forceinline__ void store(T* place, const float (&values)[V]) {
    Pack<T, V> pack;
#pragma unroll
    for (int v = 0; v < V; ++v) set(pack.item[v], values[v]);
    *reinterpret_cast<typename Word<V * sizeof(T)>::type*>(place) = pack.word;
}

template <int V> __device__ __forceinline__ void fill(float (&values)[V], float value) {
#pragma unroll
    for (int v = 0; v < V; ++v) values[v] = value;
}

// The first element of this thread, and the step to its next element.
template <typename I> __device__ __forceinline__ I first_index() { return (I)blockIdx.x * blockDim.x + threadIdx.x; }
template <typename I> __device__ __forceinline__ I index_step() { return (I)gridDim.x * blockDim.x; }

// NaN propagates, as in numpy's maximum.
__device__ __forceinline__ float greater(float a, float b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    float result;  // one instruction where there is one
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
    return result;
#else
    return (b > a || b != b) ? b : a;
#endif
}

template <typename A> __device__ __forceinline__ A at_least(A a, A b) { return a < b ? b : a; }
template <typename A> __device__ __forceinline__ A at_most(A a, A b) { return a < b ? a : b; }

enum Activation { NONE, RELU, LEAKY };

// ReLU ignores NaN like MATLAB's max; leaky ReLU keeps it.
template <int ACTIVATION> __device__ __forceinline__ float activated(float x, float leak) {
    if (ACTIVATION == RELU) return fmaxf(x, 0.0f);
    if (ACTIVATION == LEAKY) return x > 0.0f ? x : leak * x;
    return x;
}
