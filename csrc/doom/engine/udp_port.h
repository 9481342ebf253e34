// A UDP port for the host of a match.
#ifndef JAXFACTORY_DOOM_ENGINE_UDP_PORT_H_
#define JAXFACTORY_DOOM_ENGINE_UDP_PORT_H_

namespace jaxfactory {

// Reserves the number of a free port for the object's lifetime. The port itself stays
// free, so that an engine can bind it. An abstract Unix socket name keeps all other
// pools on this machine from choosing the same port; the kernel releases it when the
// process ends.
class UdpPort {
 public:
  UdpPort();
  ~UdpPort();
  UdpPort(const UdpPort&) = delete;
  UdpPort& operator=(const UdpPort&) = delete;

  int number() const { return number_; }

 private:
  int number_ = 0;
  int lock_ = -1;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_UDP_PORT_H_
