// A small library that is preloaded into the engines of a match.
//
// It replaces four functions that an engine calls through the dynamic linker, to fix
// three problems. An engine polls for packets with every wall that it draws, and it
// busy-waits for the other engines' input on the cores that these need. It compresses
// each packet of a few bytes, at a cost far above that of sending it. And the outcome
// of its game depends on the arrival times of packets.
//
// The library also protects a match from other programs. An engine accepts anyone who
// sends it two bytes as a player, and listens on all addresses of the machine. With the
// library it binds its assigned port on the loopback address, and receives only packets
// from the ports of its match. JAXFACTORY_MATCH_PORTS lists the ports: its own, then
// those of the other engines that may send to it.
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

// This bit is set in the first byte of packets that set up a match.
constexpr unsigned char kSetup = 0x20;
// In each tic an engine sends its input to all others and receives one packet from
// each; nothing else arrives until it sends again. Until then only one call in so many
// polls.
constexpr int kLookAfter = 64;
// After so many empty polls it sleeps until a packet arrives, at most a millisecond:
// the awaited engine is not running, so other processes need the cores.
constexpr int kSleepAfter = 100;
int sent = 0, heard = 0, skipped = 0, in_vain = 0;
bool sending = false;

// The most packets of other programs that one poll discards, so that a flood of them
// cannot block the engine.
constexpr int kStrangers = 64;
constexpr int kMostPorts = 17;  // its own and those of sixteen players
// Exit status of an engine whose port is taken; keep equal to engine_process.h.
constexpr int kPortTaken = 98;

struct Ports {
  Ports() noexcept {
    const char* text = std::getenv("JAXFACTORY_MATCH_PORTS");
    while (text != nullptr && *text != '\0' && count < kMostPorts) {
      char* end = nullptr;
      number[count++] = htons(static_cast<std::uint16_t>(std::strtol(text, &end, 10)));
      text = *end == ',' ? end + 1 : nullptr;
    }
  }
  bool Has(const sockaddr_in& from) const {
    if (from.sin_family != AF_INET || from.sin_addr.s_addr != htonl(INADDR_LOOPBACK)) {
      return false;
    }
    for (int i = 1; i < count; ++i) {
      if (number[i] == from.sin_port) return true;
    }
    return false;
  }
  std::uint16_t number[kMostPorts] = {};  // in network byte order
  int count = 0;
};

// Confirms to a probe that the library is loaded, before the engine's code runs.
__attribute__((constructor)) void Answer() {
  constexpr int kLoaded = 77;  // keep equal to engine_process.h
  if (std::getenv("JAXFACTORY_PRELOAD_PROBE") != nullptr) _exit(kLoaded);
}

const Ports& Chosen() {
  static const Ports ports;
  return ports;
}

// Receives a packet; discards those that do not come from the match.
ssize_t ReceiveFromMatch(int socket, void* buffer, size_t size, int flags,
                         sockaddr_in* from) {
  for (int i = 0; i < kStrangers; ++i) {
    socklen_t from_size = sizeof(*from);
    std::memset(from, 0, sizeof(*from));
    const ssize_t got =
        syscall(SYS_recvfrom, socket, buffer, size, flags, from, &from_size);
    if (got < 0 || Chosen().Has(*from)) return got;
  }
  errno = EAGAIN;
  return -1;
}

}  // namespace

EXPORTED ssize_t sendto(int socket, const void* data, size_t size, int flags,
                        const sockaddr* to, socklen_t to_size) {
  if (size > 0 && (*static_cast<const unsigned char*>(data) & kSetup) != 0) {
    sent = heard = 0;
  } else {
    if (!sending) sent = heard = 0;
    sending = true;
    ++sent;
  }
  return syscall(SYS_sendto, socket, data, size, flags, to, to_size);
}

EXPORTED ssize_t recvfrom(int socket, void* buffer, size_t size, int flags,
                          sockaddr* from, socklen_t* from_size) {
  // If a guest already has the host's input when it has just sent its own, it assumes
  // that it lags and builds its next input before it has one. So the first poll after
  // sending returns nothing.
  const bool just_sent = sending;
  sending = false;
  const bool complete = sent > 0 && heard >= sent;
  if (just_sent || (complete && ++skipped < kLookAfter)) {
    errno = EAGAIN;
    return -1;
  }
  skipped = 0;
  sockaddr_in sender;
  const ssize_t got = ReceiveFromMatch(socket, buffer, size, flags, &sender);
  if (got >= 0) {
    if (from != nullptr && from_size != nullptr) {
      if (*from_size > sizeof(sender)) *from_size = sizeof(sender);
      std::memcpy(from, &sender, *from_size);
    }
    ++heard;
    in_vain = 0;
  } else if (errno == EAGAIN && !complete) {
    if (++in_vain < kSleepAfter) {
      sched_yield();  // the awaited engines may be on this core
    } else {
      pollfd wanted = {socket, POLLIN, 0};
      poll(&wanted, 1, 1);
    }
    errno = EAGAIN;
  }
  return got;
}

// For packets, returns zlib's error for a full output buffer, so that the engine sends
// them uncompressed. Only packets use this level. Other data must be compressed: given
// this error, an engine that caches a level's nodes would retry forever, each time with
// a larger buffer.
EXPORTED int compress2(unsigned char* output, unsigned long* output_size,
                       const unsigned char* input, unsigned long size, int level) {
  constexpr int kPacketLevel = 9, kStreamError = -2, kBufferError = -5;
  if (level == kPacketLevel) return kBufferError;
  using Compress =
      int(unsigned char*, unsigned long*, const unsigned char*, unsigned long, int);
  static auto* const zlibs = reinterpret_cast<Compress*>(dlsym(RTLD_NEXT, "compress2"));
  if (zlibs == nullptr) return kStreamError;
  return zlibs(output, output_size, input, size, level);
}

// Binds the engine's assigned port on the loopback address. Exits if that fails: nobody
// would see the engine's own error message.
EXPORTED int bind(int socket, const sockaddr* address, socklen_t size) noexcept {
  if (address->sa_family != AF_INET) {
    return static_cast<int>(syscall(SYS_bind, socket, address, size));
  }
  const Ports& ports = Chosen();
  sockaddr_in local = {};
  local.sin_family = AF_INET;
  local.sin_port = ports.number[0];
  local.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (ports.count > 1 && syscall(SYS_bind, socket, &local, sizeof(local)) == 0)
    return 0;
  _exit(kPortTaken);
}
