// A small library that is loaded into the engines of a match before their own.
//
// An engine that waits for the others' orders asks its socket over and over, and keeps
// the core from the very engines that it waits for. And it compresses each packet of a
// few bytes, at a cost far above that of sending it. Both are called through the
// dynamic linker, so that they can be answered here; the game stays the same.
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#define EXPORTED extern "C" __attribute__((visibility("default")))

// Where nothing has arrived, lets the others on this core run.
EXPORTED ssize_t recvfrom(int socket, void* buffer, size_t size, int flags,
                          sockaddr* from, socklen_t* from_size) {
  const ssize_t got =
      syscall(SYS_recvfrom, socket, buffer, size, flags, from, from_size);
  if (got < 0 && errno == EAGAIN) {
    sched_yield();
    errno = EAGAIN;
  }
  return got;
}

// zlib's answer where the output has no room: the engine then sends what it has as it
// is. Packets alone are compressed with this function.
EXPORTED int compress2(unsigned char*, unsigned long*, const unsigned char*,
                       unsigned long, int) {
  constexpr int kBufferError = -5;
  return kBufferError;
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
