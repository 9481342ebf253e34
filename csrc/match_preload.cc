// A small library that is loaded into the engines of a match before their own.
//
// An engine looks for packets with every wall that it draws, and while it waits for the
// others' orders it asks over and over and keeps the core from the very engines that it
// waits for. It compresses each packet of a few bytes, at a cost far above that of
// sending it. And what it plays depends on when a packet arrives. All this goes through
// the dynamic linker, so that it can be answered here.
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

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
  const ssize_t got =
      syscall(SYS_recvfrom, socket, buffer, size, flags, from, from_size);
  if (got >= 0) {
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

// Keeps the match on this machine: the engine would listen on all of its addresses.
EXPORTED int bind(int socket, const sockaddr* address, socklen_t size) noexcept {
  sockaddr_in local;
  if (address->sa_family == AF_INET && size == sizeof(local)) {
    std::memcpy(&local, address, sizeof(local));
    local.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address = reinterpret_cast<const sockaddr*>(&local);
  }
  return static_cast<int>(syscall(SYS_bind, socket, address, size));
}
