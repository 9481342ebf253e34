// What kernels/tiles.h does, in plain C++: for tests on processors without AMX. It is
// strict: sizes must fit as the processor wants them, and sanitizers see every access.
#ifndef JAXFACTORY_TESTS_SOFTWARE_TILES_H_
#define JAXFACTORY_TESTS_SOFTWARE_TILES_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tests/check.h"

namespace jaxfactory {
namespace tiles {

struct Tile {
  int rows = 0, columns = 0;  // columns of 32 bits
  std::uint32_t values[16][16];

  void Read(const void* from, std::ptrdiff_t stride) {
    CHECK(rows > 0);
    const char* row = static_cast<const char*>(from);
    const std::size_t bytes = static_cast<std::size_t>(columns) * 4;
    for (int i = 0; i < rows; ++i, row += stride) std::memcpy(values[i], row, bytes);
  }
};

struct State {
  Tile sums[2][2], a[2], b[2];
  bool configured = false;
};

inline State& ThisThread() {
  thread_local State state;
  return state;
}

class Configuration {
 public:
  Configuration(int rows, int pairs, int columns) {
    for (const int size : {rows, pairs, columns}) CHECK(size >= 1 && size <= 16);
    State& state = ThisThread();
    CHECK(!state.configured);
    state.configured = true;
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 2; ++j) Set(state.sums[i][j], rows, columns);
      Set(state.a[i], rows, pairs);
      Set(state.b[i], pairs, columns);
    }
  }
  ~Configuration() { ThisThread() = State{}; }
  Configuration(const Configuration&) = delete;
  Configuration& operator=(const Configuration&) = delete;

 private:
  // What is not written is not a number.
  static void Set(Tile& tile, int rows, int columns) {
    tile.rows = rows;
    tile.columns = columns;
    std::memset(tile.values, 0xff, sizeof tile.values);
  }
};

template <int kRow>
void LoadA(const void* from, std::ptrdiff_t stride) {
  ThisThread().a[kRow].Read(from, stride);
}

template <int kColumn>
void LoadB(const void* from, std::ptrdiff_t stride) {
  ThisThread().b[kColumn].Read(from, stride);
}

inline float Number(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <int kRow, int kColumn>
void Multiply() {
  State& state = ThisThread();
  Tile& sums = state.sums[kRow][kColumn];
  const Tile &a = state.a[kRow], &b = state.b[kColumn];
  CHECK(a.rows > 0);
  for (int i = 0; i < a.rows; ++i) {
    for (int j = 0; j < b.columns; ++j) {
      float sum = Number(sums.values[i][j]);
      for (int k = 0; k < b.rows; ++k) {
        const std::uint32_t x = a.values[i][k], y = b.values[k][j];
        sum += Number(x << 16) * Number(y << 16);
        sum += Number(x & 0xffff0000U) * Number(y & 0xffff0000U);
      }
      std::memcpy(&sums.values[i][j], &sum, sizeof sum);
    }
  }
}

template <int kRow, int kColumn>
void Zero() {
  Tile& sums = ThisThread().sums[kRow][kColumn];
  CHECK(sums.rows > 0);
  std::memset(sums.values, 0, sizeof sums.values);
}

template <int kRow, int kColumn>
void Load(const float* from, std::ptrdiff_t stride) {
  ThisThread().sums[kRow][kColumn].Read(from, stride);
}

template <int kRow, int kColumn>
void Store(float* to, std::ptrdiff_t stride) {
  const Tile& sums = ThisThread().sums[kRow][kColumn];
  CHECK(sums.rows > 0);
  char* row = reinterpret_cast<char*>(to);
  const std::size_t bytes = static_cast<std::size_t>(sums.columns) * 4;
  for (int i = 0; i < sums.rows; ++i, row += stride) {
    std::memcpy(row, sums.values[i], bytes);
  }
}

}  // namespace tiles
}  // namespace jaxfactory

#endif  // JAXFACTORY_TESTS_SOFTWARE_TILES_H_
