#include "doom/engine/udp_port.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <string>

#include "doom/engine/engine_config.h"

namespace jaxfactory {
namespace {

// Below Linux's default range of ephemeral ports.
constexpr int kFirst = 20000;
constexpr int kCount = 12000;

int Socket(int family) {
  const int made = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (made >= 0) return made;
  throw EngineError(std::string("Cannot open a socket for a match (") +
                    std::strerror(errno) + "); run fewer matches at once.");
}

// Reserves the name of a port; returns -1 if another pool has it.
int Lock(int port) {
  const int lock = Socket(AF_UNIX);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // A name that begins with a zero byte is abstract: not a file.
  const std::string name = "jaxfactory-udp-" + std::to_string(port);
  name.copy(address.sun_path + 1, name.size());
  const auto size =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (bind(lock, reinterpret_cast<const sockaddr*>(&address), size) == 0) return lock;
  close(lock);
  return -1;
}

bool Free(int port) {
  const int probe = Socket(AF_INET);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  const bool free =
      bind(probe, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  close(probe);
  return free;
}

}  // namespace

UdpPort::UdpPort() {
  // Starts at a random port, so that pools started together try different ones.
  const int start = static_cast<int>(std::random_device{}() % kCount);
  for (int i = 0; i < kCount; ++i) {
    const int port = kFirst + (start + i) % kCount;
    const int lock = Lock(port);
    if (lock < 0) continue;
    try {
      if (Free(port)) {
        number_ = port;
        lock_ = lock;
        return;
      }
    } catch (...) {
      close(lock);
      throw;
    }
    close(lock);
  }
  throw EngineError("No UDP port from " + std::to_string(kFirst) + " to " +
                    std::to_string(kFirst + kCount - 1) +
                    " is free for a match's host; run fewer matches at once.");
}

UdpPort::~UdpPort() { close(lock_); }

}  // namespace jaxfactory
