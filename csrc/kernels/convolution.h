// Strided convolutions without padding on the CPU: forward and both gradients.
//
// Arrays are float32 and dense: images [N, H, W, C], kernels [K, K, C, O], outputs
// [N, P, Q, O]. In this layout the K x C values under one row of a kernel lie side by
// side, so that every pass is a product of small matrices without any copying: patches
// are read where they are.
#ifndef JAXFACTORY_KERNELS_CONVOLUTION_H_
#define JAXFACTORY_KERNELS_CONVOLUTION_H_

#include <cstddef>

namespace jaxfactory {

struct ConvShape {
  int images = 0, height = 0, width = 0, channels = 0;
  int size = 0, stride = 0, outputs = 0;

  int rows() const { return (height - size) / stride + 1; }    // P
  int columns() const { return (width - size) / stride + 1; }  // Q
  int patch_row() const { return size * channels; }            // K C
  std::size_t image() const {
    return static_cast<std::size_t>(height) * width * channels;
  }
  std::size_t output() const {
    return static_cast<std::size_t>(rows()) * columns() * outputs;
  }
  std::size_t kernel() const {
    return static_cast<std::size_t>(size) * patch_row() * outputs;
  }
};

// Whether the processor supports these kernels (AVX2 with FMA, or AVX-512).
bool ConvolutionSupported();
// Use vectors of at most this many floats, 8 or 16; for tests of both.
void LimitConvolutionLanes(int lanes);

// All need multiples of 16 outputs and of 8 values a patch row, of 16 for the gradient
// with respect to the image. Each computes the images `first` to `last` - 1, so that
// threads can share the work.
void ConvForward(const ConvShape& shape, const float* x, const float* kernel, float* y,
                 int first, int last);
// Adds to `kernel_gradient`.
void ConvKernelGradient(const ConvShape& shape, const float* x, const float* dy,
                        float* kernel_gradient, int first, int last);
// `transposed` is the kernel as [K, O, K, C]; see `TransposeKernel`.
void ConvImageGradient(const ConvShape& shape, const float* transposed, const float* dy,
                       float* dx, int first, int last);
void TransposeKernel(const ConvShape& shape, const float* kernel, float* transposed);

}  // namespace jaxfactory

#endif  // JAXFACTORY_KERNELS_CONVOLUTION_H_
