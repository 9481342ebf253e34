// The fast and the plain resize path both match the formula.
#include "doom/frame.h"

#include <cstdint>
#include <random>
#include <vector>

#include "tests/check.h"

namespace jaxfactory {
namespace {

// Exact allocations, so that the address sanitizer detects any overrun.
void Compare(int source_width, int source_height, int width, int height, int channels,
             std::mt19937& random) {
  std::vector<std::uint8_t> source(static_cast<std::size_t>(source_width) *
                                   source_height * channels);
  for (std::uint8_t& byte : source) byte = static_cast<std::uint8_t>(random());
  const std::size_t bytes = static_cast<std::size_t>(width) * height * channels;
  std::vector<std::uint8_t> fast(bytes, 1);
  std::vector<std::uint8_t> plain(bytes, 2);
  const Resizer resizer(source_width, source_height, width, height, channels, channels);
  resizer(source.data(), fast.data());
  resizer.Reference(source.data(), plain.data());
  CHECK(fast == plain);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < channels; ++c) {
        const int from_y = y * source_height / height;
        const int from_x = x * source_width / width;
        CHECK(plain[(static_cast<std::size_t>(y) * width + x) * channels + c] ==
              source[(static_cast<std::size_t>(from_y) * source_width + from_x) *
                         channels +
                     c]);
      }
    }
  }
}

void TestSizes() {
  std::mt19937 random(1);  // NOLINT(bugprone-random-generator-seed)
  for (const int channels : {1, 2, 3, 4}) {
    for (const int source_width : {1, 5, 10, 11, 16, 31, 32, 33, 64, 160}) {
      for (const int width : {1, 3, 5, 6, 7, 15, 16, 17, 31, 33, 72, 128, 160, 161}) {
        Compare(source_width, 3, width, 4, channels, random);
      }
    }
  }
  Compare(160, 120, 128, 72, 3, random);
  Compare(320, 240, 128, 72, 3, random);
}

// Two buffers interleaved into one image do not overwrite each other's channels.
void TestStride() {
  const std::vector<std::uint8_t> color = {1, 2, 3, 4, 5, 6};  // 2 x 1, RGB
  const std::vector<std::uint8_t> depth = {7, 8};
  std::vector<std::uint8_t> out(8, 0);
  Resizer(2, 1, 2, 1, 3, 4)(color.data(), out.data());
  Resizer(2, 1, 2, 1, 1, 4)(depth.data(), out.data() + 3);
  CHECK((out == std::vector<std::uint8_t>{1, 2, 3, 7, 4, 5, 6, 8}));
}

}  // namespace
}  // namespace jaxfactory

int main() {
  jaxfactory::TestSizes();
  jaxfactory::TestStride();
}
