// A UDP port for the host of a match.
#ifndef JAXFACTORY_DOOM_ENGINE_UDP_PORT_H_
#define JAXFACTORY_DOOM_ENGINE_UDP_PORT_H_

namespace jaxfactory {

// Reserves the number of a free port. The port itself stays free, for an
// engine to bind; a name in the kernel's abstract socket space keeps other pools on
// this machine, in whatever process, from choosing it too, and goes with the object or
// its process.
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
