// What a fork server and its controller send each other; see fork_server.h.
#ifndef JAXFACTORY_DOOM_PATCHES_FORK_PROTOCOL_H_
#define JAXFACTORY_DOOM_PATCHES_FORK_PROTOCOL_H_

#include <cstdint>

namespace jaxfactory::fork_protocol {

// The server's descriptors: of its library (see engine_process.cc), and of the socket.
inline constexpr int kLibrary = 3, kControl = 4;
inline constexpr int kIdLength = 10;
// Tells the library the id and the seed of the server's command line: "ID SEED".
inline constexpr char kVariable[] = "JAXFACTORY_FORK_SERVER";

// From the controller: start an engine with this id and this seed.
struct Request {
  char id[kIdLength];
  std::uint16_t unused;
  std::uint32_t seed;
};

// From the server, once it has started and after each request: the engine's process id,
// or a negative value. After the start it is `kReady` or negative.
struct Reply {
  std::int32_t pid;
};
inline constexpr std::int32_t kReady = 0, kFailed = -1;

}  // namespace jaxfactory::fork_protocol

#endif  // JAXFACTORY_DOOM_PATCHES_FORK_PROTOCOL_H_
