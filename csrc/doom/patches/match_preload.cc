// A small library that is loaded into the engines of a match before their own.
//
// An engine looks for packets with every wall that it draws, and while it waits for the
// others' orders it asks over and over and keeps the core from the very engines that it
// waits for. It compresses each packet of a few bytes, at a cost far above that of
// sending it. And what it plays depends on when a packet arrives. All this goes through
// the dynamic linker, so that it can be answered here.
//
// It also keeps others out. An engine takes whoever sends it two bytes for a player,
// and listens on all addresses of the machine. Here it binds the port that was chosen
// for it, on this machine's own address, and hears only what comes from the ports that
// were chosen for its match. JAXFACTORY_MATCH_PORTS has them: its own, then those it
// may hear.
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

// The first byte of a packet that sets a match up has this bit.
constexpr unsigned char kSetup = 0x20;
// For each tic an engine sends its order to all others and hears once from each; until
// it sends again nothing can come. Now and then it looks all the same.
constexpr int kLookAfter = 64;
// After so many looks in vain it sleeps until a packet comes, or a millisecond: whoever
// is waited for does not run, so that something else wants the cores.
constexpr int kSleepAfter = 100;
int sent = 0, heard = 0, skipped = 0, in_vain = 0;
bool sending = false;

// What strangers have sent is thrown away in one look up to this many times, so that
// a flood of it cannot keep the engine here.
constexpr int kStrangers = 64;
constexpr int kMostPorts = 17;  // its own, and sixteen players
// The exit status of an engine whose port was taken; engine_process.h has it too.
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
  std::uint16_t number[kMostPorts] = {};  // as they are in addresses
  int count = 0;
};

// Tells who asks that the library is loaded, before the engine begins.
__attribute__((constructor)) void Answer() {
  constexpr int kLoaded = 77;  // engine_process.h has it too
  if (std::getenv("JAXFACTORY_PRELOAD_PROBE") != nullptr) _exit(kLoaded);
}

const Ports& Chosen() {
  static const Ports ports;
  return ports;
}

// Receives, and throws away what strangers sent.
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
  // A guest that already knows the host's order when it has just sent its own believes
  // that it is slow, and prepares its next order before it has been given one. So
  // whoever has just sent hears nothing, for one look.
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
      sched_yield();  // the others on this core may be those that are waited for
    } else {
      pollfd wanted = {socket, POLLIN, 0};
      poll(&wanted, 1, 1);
    }
    errno = EAGAIN;
  }
  return got;
}

// For a packet, zlib's answer where the output has no room: the engine then sends what
// it has as it is. Packets alone are compressed at this level. All else is compressed:
// with that answer, an engine that wants to keep the nodes of a level that took it long
// to load would ask again for ever, each time with more room.
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

// Keeps the match on this machine, and each engine on its port. Ends the engine if that
// cannot be: its own words for it would reach nobody.
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
