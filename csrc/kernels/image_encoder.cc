#include "kernels/image_encoder.h"

#include <algorithm>

#include "kernels/blocks.h"

namespace jaxfactory {
namespace {

// Images whose kernel gradients are summed in one go: their pairs stay in the L2 cache.
constexpr int kTogether = 4;

std::ptrdiff_t Signed(std::size_t size) { return static_cast<std::ptrdiff_t>(size); }

}  // namespace

ImageEncoder::ImageEncoder(const std::vector<ConvLayer>& layers, Finish activation,
                           bool gradient)
    : layers_(layers), activation_(activation) {
  for (const ConvLayer& layer : layers_) {
    const ConvShape& shape = layer.shape;
    const int length = shape.patch_row(), outputs = shape.outputs;
    gradients_ += shape.kernel() + static_cast<std::size_t>(outputs);

    ScratchArray<Pair>& pairs = kernels_.emplace_back(shape.kernel() / 2);
    for (int row = 0; row < shape.size * length / 2; ++row) {
      const float* from = layer.kernel + std::ptrdiff_t{2} * row * outputs;
      InterleaveFloats(from, from + outputs, outputs,
                       pairs.data() + static_cast<std::ptrdiff_t>(row) * outputs);
    }
    std::vector<std::ptrdiff_t>& patches = patches_.emplace_back();
    for (int row = 0; row < shape.rows(); ++row) {
      for (int column = 0; column < shape.columns(); ++column) {
        patches.push_back((static_cast<std::ptrdiff_t>(row) * shape.width + column) *
                          shape.stride * shape.channels);
      }
    }
    ScratchArray<Pair>& transposed = transposed_.emplace_back();
    if (!gradient || transposed_.size() == 1) continue;
    transposed.resize(shape.kernel() / 2);
    for (int row = 0; row < shape.size; ++row) {
      for (int j = 0; j < length; j += kPairLanes) {
        const std::ptrdiff_t start = static_cast<std::ptrdiff_t>(row) * length;
        TransposePairs(layer.kernel + (start + j) * outputs, outputs, outputs / 2,
                       transposed.data() + start * outputs / 2 + j, length);
      }
    }
  }
}

void ImageEncoder::Layer(std::size_t index, const Bf16* image, Bf16* result) const {
  const ConvLayer& layer = layers_[index];
  const ConvShape& shape = layer.shape;
  const std::vector<std::ptrdiff_t>& patches = patches_[index];
  PairProduct product{};
  product.segments = shape.size;
  product.pairs = shape.patch_row() / 2;
  product.segment_stride = static_cast<std::ptrdiff_t>(shape.width) * shape.channels;
  product.ldb = shape.outputs;
  ForBlocks(static_cast<int>(patches.size()), kPairRows, [&](int start, int count) {
    ForVectors(shape.outputs, kPairLanes, [&](int output, int vectors) {
      for (int i = 0; i < count; ++i) {
        const std::ptrdiff_t place = start + i;
        product.a[i] = image + patches[static_cast<std::size_t>(place)];
        product.out[i] = result + place * shape.outputs + output;
      }
      product.b = kernels_[index].data() + output;
      product.bias = layer.bias + output;
      Multiply(product, count, vectors, activation_);
    });
  });
}

void ImageEncoder::Forward(const Pixels& pixels, int first, int last) const {
  const std::size_t size = layers_.front().shape.image();
  ScratchArray<Bf16> normalized(size);
  std::vector<ScratchArray<Bf16>> between(layers_.size());
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    if (layers_[i].result == nullptr) between[i].resize(layers_[i].shape.output());
  }
  for (int image = first; image < last; ++image) {
    const std::size_t number = static_cast<std::size_t>(image);
    NormalizePixels(pixels.values + number * size, pixels.scale, pixels.shift,
                    pixels.clip, Signed(size), normalized.data());
    const Bf16* from = normalized.data();
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const ConvLayer& layer = layers_[i];
      Bf16* to = layer.result == nullptr ? between[i].data()
                                         : layer.result + number * layer.shape.output();
      Layer(i, from, to);
      from = to;
    }
  }
}

// What is computed of a few images before their kernel gradients: the inputs and the
// errors of each layer, as pairs of two images.
struct ImageEncoder::Scratch {
  explicit Scratch(const std::vector<ConvLayer>& layers)
      : normalized(2 * layers.front().shape.image()),
        inputs(layers.size()),
        errors(layers.size()) {
    std::size_t largest = 0;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const ConvShape& shape = layers[i].shape;
      inputs[i].resize(kTogether / 2 * shape.image());
      errors[i].resize(kTogether / 2 * shape.output());
      if (i > 0) largest = std::max(largest, shape.image());
      rounded[0].resize(std::max(rounded[0].size(), shape.output()));
    }
    rounded[1].resize(rounded[0].size());
    gradient.resize(2 * largest);
  }

  ScratchArray<Bf16> normalized;
  ScratchArray<Bf16> rounded[2];  // the errors of one layer
  ScratchArray<float> gradient;   // of one layer's images
  std::vector<ScratchArray<Pair>> inputs, errors;
};

void ImageEncoder::Backward(const Pixels& pixels, const float* errors, int first,
                            int last, float* sums) const {
  Scratch scratch(layers_);
  std::vector<float*> biases;
  float* at = sums;
  for (const ConvLayer& layer : layers_) {
    biases.push_back(at + layer.shape.kernel());
    at = biases.back() + layer.shape.outputs;
  }
  const std::size_t size = layers_.front().shape.image();
  for (int start = first; start < last; start += kTogether) {
    const int count = std::min(kTogether, last - start);
    for (int image = start; image < start + count; image += 2) {
      const int both = std::min(2, last - image);
      const std::size_t slot = static_cast<std::size_t>(image - start) / 2;
      for (int i = 0; i < both; ++i) {
        NormalizePixels(pixels.values + static_cast<std::size_t>(image + i) * size,
                        pixels.scale, pixels.shift, pixels.clip, Signed(size),
                        scratch.normalized.data() + static_cast<std::size_t>(i) * size);
      }
      for (std::size_t layer = layers_.size(); layer-- > 0;) {
        const ConvShape& shape = layers_[layer].shape;
        const std::size_t in = shape.image(), out = shape.output();
        const Bf16* from[2] = {nullptr, nullptr};
        for (int i = 0; i < both; ++i) {
          const std::size_t number = static_cast<std::size_t>(image + i);
          const float* dy =
              layer + 1 == layers_.size()
                  ? errors + number * out
                  : scratch.gradient.data() + static_cast<std::size_t>(i) * out;
          ActivationGradient(
              layers_[layer].result + number * out, dy, activation_,
              static_cast<std::ptrdiff_t>(shape.rows()) * shape.columns(),
              shape.outputs, scratch.rounded[i].data(), biases[layer]);
          from[i] = layer == 0
                        ? scratch.normalized.data() + static_cast<std::size_t>(i) * in
                        : layers_[layer - 1].result + number * in;
        }
        Interleave(scratch.rounded[0].data(),
                   both == 2 ? scratch.rounded[1].data() : nullptr, Signed(out),
                   scratch.errors[layer].data() + slot * out);
        Interleave(from[0], from[1], Signed(in),
                   scratch.inputs[layer].data() + slot * in);
        if (layer == 0) break;
        for (int i = 0; i < both; ++i) {
          ImageGradient(layer, scratch.rounded[i].data(),
                        scratch.gradient.data() + static_cast<std::size_t>(i) * in);
        }
      }
    }
    float* to = sums;
    for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
      KernelGradient(layer, scratch, (count + 1) / 2, to);
      to += layers_[layer].shape.kernel() +
            static_cast<std::size_t>(layers_[layer].shape.outputs);
    }
  }
}

void ImageEncoder::KernelGradient(std::size_t index, const Scratch& scratch, int pairs,
                                  float* sums) const {
  const ConvShape& shape = layers_[index].shape;
  const std::ptrdiff_t line = static_cast<std::ptrdiff_t>(shape.width) * shape.channels;
  const int length = shape.patch_row(), outputs = shape.outputs;
  PairOuterSum sum{};
  sum.blocks = pairs;
  sum.rows = shape.rows();
  sum.columns = shape.columns();
  sum.x_block = Signed(shape.image());
  sum.x_row = shape.stride * line;
  sum.x_column = static_cast<std::ptrdiff_t>(shape.stride) * shape.channels;
  sum.dy_block = Signed(shape.output());
  sum.dy_row = static_cast<std::ptrdiff_t>(shape.columns()) * outputs;
  sum.dy_column = outputs;
  sum.out_row = outputs;
  for (int row = 0; row < shape.size; ++row) {
    ForVectors(outputs, kPairLanes, [&](int output, int vectors) {
      for (int j = 0; j < length;) {
        const int rows = OuterRows(length - j, vectors);
        sum.x = scratch.inputs[index].data() + row * line + j;
        sum.dy = scratch.errors[index].data() + output;
        sum.out =
            sums + (static_cast<std::ptrdiff_t>(row) * length + j) * outputs + output;
        AddOuter(sum, rows, vectors);
        j += rows;
      }
    });
  }
}

void ImageEncoder::ImageGradient(std::size_t index, const Bf16* errors,
                                 float* to) const {
  const ConvShape& shape = layers_[index].shape;
  const std::ptrdiff_t line = static_cast<std::ptrdiff_t>(shape.width) * shape.channels;
  const int length = shape.patch_row();
  std::fill_n(to, shape.image(), 0.0F);
  PairProduct product{};
  product.segments = 1;
  product.pairs = shape.outputs / 2;
  product.ldb = length;
  for (int row = 0; row < shape.rows(); ++row) {
    ForParts(shape.columns(), kPairRows, [&](int start, int count) {
      for (int k = 0; k < shape.size; ++k) {
        ForVectors(length, kPairLanes, [&](int j, int vectors) {
          for (int i = 0; i < count; ++i) {
            const std::ptrdiff_t column = start + i;
            product.a[i] =
                errors + (static_cast<std::ptrdiff_t>(row) * shape.columns() + column) *
                             shape.outputs;
            product.out[i] = to + (row * shape.stride + k) * line +
                             column * shape.stride * shape.channels + j;
          }
          product.b = transposed_[index].data() +
                      static_cast<std::ptrdiff_t>(k) * length * shape.outputs / 2 + j;
          Multiply(product, count, vectors, Finish::kAdd);
        });
      }
    });
  }
}

}  // namespace jaxfactory
