#include "doom/patches/screen_loop.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>
#include <vector>

#include "doom/engine/engine_config.h"

namespace jaxfactory {
namespace {

constexpr int kAny = -1;  // a byte of an address, which differs between builds

// One pixel of the engine's compiled loop (x86-64). On entry: rbx points to the screen
// buffer, r13 to the canvas, ebp is its width, r12d its padding per row, r14d the
// number of pixels, ecx 0. The palette is on the stack, four bytes per entry: blue,
// green, red, unused.
constexpr auto kLoop = std::to_array<int>({
    0x31, 0xd2,                                // xor edx, edx
    0x89, 0xc8,                                // mov eax, ecx
    0x41, 0x8b, 0x33,                          // mov esi, [r11]     bytes per pixel
    0xf7, 0xf5,                                // div ebp
    0x0f, 0xaf, 0xf1,                          // imul esi, ecx
    0x89, 0xf2,                                // mov edx, esi
    0x41, 0x03, 0x12,                          // add edx, [r10]     offset of red
    0x41, 0x0f, 0xaf, 0xc4,                    // imul eax, r12d
    0x01, 0xc8,                                // add eax, ecx
    0x89, 0xc0,                                // mov eax, eax
    0x4c, 0x01, 0xe8,                          // add rax, r13
    0x44, 0x0f, 0xb6, 0x38,                    // movzx r15d, byte [rax]
    0x46, 0x0f, 0xb6, 0x7c, 0xbc, 0x02,        // movzx r15d, byte [rsp + r15 * 4 + 2]
    0x44, 0x88, 0x3c, 0x13,                    // mov [rbx + rdx], r15b
    0x44, 0x0f, 0xb6, 0x38,                    // movzx r15d, byte [rax]
    0x89, 0xf2,                                // mov edx, esi
    0x41, 0x03, 0x11,                          // add edx, [r9]      green
    0x46, 0x0f, 0xb6, 0x7c, 0xbc, 0x01,        // movzx r15d, byte [rsp + r15 * 4 + 1]
    0x44, 0x88, 0x3c, 0x13,                    // mov [rbx + rdx], r15b
    0x0f, 0xb6, 0x00,                          // movzx eax, byte [rax]
    0x89, 0xf2,                                // mov edx, esi
    0x41, 0x03, 0x10,                          // add edx, [r8]      blue
    0x0f, 0xb6, 0x04, 0x84,                    // movzx eax, byte [rsp + rax * 4]
    0x88, 0x04, 0x13,                          // mov [rbx + rdx], al
    0x80, 0x3f, 0x00,                          // cmp byte [rdi], 0  opaque alpha?
    0x74, 0x0d,                                // je +13
    0x48, 0xc7, 0xc0, kAny, kAny, kAny, kAny,  // mov rax, imm32
    0x03, 0x30,                                // add esi, [rax]
    0xc6, 0x04, 0x33, 0xff,                    // mov byte [rbx + rsi], 255
    0x83, 0xc1, 0x01,                          // add ecx, 1
    0x41, 0x39, 0xce,                          // cmp r14d, ecx
    0x75, 0x9a,                                // jne to the beginning
    0x48, 0x81, 0xc4, 0x08, 0x04, 0x00, 0x00,  // add rsp, 0x408     the function's end
    0x5b,                                      // pop rbx
    0x5d,                                      // pop rbp
    0x41, 0x5c,                                // pop r12
    0x41, 0x5d,                                // pop r13
    0x41, 0x5e,                                // pop r14
    0x41, 0x5f,                                // pop r15
    0xc3,                                      // ret
});
constexpr std::size_t kEnd = 18;  // bytes of the function's end

// The replacement of the loop, with the same registers. The function's end restores all
// registers that it changes and that a caller may expect to be kept.
constexpr auto kReplacement = std::to_array<std::uint8_t>({
    // The palette becomes red, green, blue, 0.
    0x8b,
    0x04,
    0x8c,  // 0: mov eax, [rsp + rcx * 4]
    0x0f,
    0xc8,  // bswap eax
    0xc1,
    0xe8,
    0x08,  // shr eax, 8
    0x89,
    0x04,
    0x8c,  // mov [rsp + rcx * 4], eax
    0xff,
    0xc1,  // inc ecx
    0x81,
    0xf9,
    0x00,
    0x01,
    0x00,
    0x00,  // cmp ecx, 256
    0x75,
    0xeb,  // jne 0
    // Each row.
    0x89,
    0xe9,  // 1: mov ecx, ebp
    // Each pixel: two bytes, then one, so that nothing beyond the buffer is written.
    0x41,
    0x0f,
    0xb6,
    0x45,
    0x00,  // 2: movzx eax, byte [r13]
    0x49,
    0xff,
    0xc5,  // inc r13
    0x8b,
    0x04,
    0x84,  // mov eax, [rsp + rax * 4]
    0x66,
    0x89,
    0x03,  // mov [rbx], ax
    0xc1,
    0xe8,
    0x10,  // shr eax, 16
    0x88,
    0x43,
    0x02,  // mov [rbx + 2], al
    0x48,
    0x83,
    0xc3,
    0x03,  // add rbx, 3
    0xff,
    0xc9,  // dec ecx
    0x75,
    0xe4,  // jne 2
    0x4d,
    0x01,
    0xe5,  // add r13, r12
    0x41,
    0x29,
    0xee,  // sub r14d, ebp
    0x75,
    0xda,  // jne 1
    0xeb,
    kLoop.size() - kEnd - 61,  // jmp to the function's end
});
static_assert(kReplacement.size() == 61);

bool Matches(const std::uint8_t* code) {
  for (std::size_t i = 0; i < kLoop.size(); ++i) {
    if (kLoop[i] != kAny && !std::cmp_equal(kLoop[i], code[i])) return false;
  }
  return true;
}

// The address of a file offset of an executable in a process that runs it; 0 if it is
// not mapped as code.
std::uint64_t AddressOf(pid_t pid, const std::string& executable, std::int64_t offset) {
  std::array<char, PATH_MAX> path{};
  if (realpath(executable.c_str(), path.data()) == nullptr) return 0;
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  std::string line;
  while (std::getline(maps, line)) {
    // begin-end permissions offset device inode path
    std::uint64_t begin = 0, end = 0, start = 0;
    std::array<char, 5> permissions{};
    int where = 0;
    // The kernel wrote the line.
    // NOLINTNEXTLINE(bugprone-unchecked-string-to-number-conversion)
    if (std::sscanf(line.c_str(), "%lx-%lx %4s %lx %*s %*s %n", &begin, &end,
                    permissions.data(), &start, &where) != 4) {
      continue;
    }
    const auto at = static_cast<std::uint64_t>(offset);
    if (permissions[2] == 'x' &&
        line.substr(static_cast<std::size_t>(where)) == path.data() && at >= start &&
        at - start + kLoop.size() <= end - begin) {
      return begin + (at - start);
    }
  }
  return 0;
}

}  // namespace

std::int64_t FindScreenLoop(const std::string& executable) {
  std::ifstream file(executable, std::ios::binary);
  const std::vector<char> data{std::istreambuf_iterator<char>(file), {}};
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(data.data());
  std::int64_t found = -1;
  for (std::size_t at = 0; at + kLoop.size() <= data.size(); ++at) {
    if (bytes[at] != kLoop[0] || !Matches(bytes + at)) continue;
    if (found >= 0) return -1;
    found = static_cast<std::int64_t>(at);
  }
  return found;
}

bool ReplaceScreenLoop(pid_t pid, const std::string& executable, std::int64_t offset) {
  if (offset < 0) return false;
  const std::uint64_t address = AddressOf(pid, executable, offset);
  if (address == 0) return false;
  // Writing here gives the process a private copy of the page, whatever the page's
  // permissions. It requires the right to trace the process, which a parent has.
  const int memory =
      open(("/proc/" + std::to_string(pid) + "/mem").c_str(), O_RDWR | O_CLOEXEC);
  if (memory < 0) return false;
  const auto where = static_cast<off_t>(address);
  std::array<std::uint8_t, kLoop.size()> code{};
  bool replaced = false;
  if (pread(memory, code.data(), code.size(), where) == std::ssize(code) &&
      Matches(code.data())) {
    const ssize_t written =
        pwrite(memory, kReplacement.data(), kReplacement.size(), where);
    replaced = written == std::ssize(kReplacement);
    // A partial write must be undone.
    if (!replaced && written > 0 &&
        pwrite(memory, code.data(), code.size(), where) != std::ssize(code)) {
      close(memory);
      throw EngineError("An engine's code was overwritten only in part; start again.");
    }
  }
  close(memory);
  return replaced;
}

}  // namespace jaxfactory
