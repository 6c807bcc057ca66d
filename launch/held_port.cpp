#include "launch/held_port.hpp"

#include <cerrno>
#include <cstring>

#include "messages/check.hpp"

namespace tracewise {

Result<HeldPort> hold_port(const std::string& address, uint16_t port) {
  auto place = numeric_address(address, port);
  if (!place) return bad_input("'" + address + "' is no IPv4 or IPv6 address");
  HeldPort held;
  held.fd.reset(::socket(place->get()->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // Two sockets that both allow it may have one port, as long as only one of them listens.
  const int yes = 1;
  if (!held.fd || ::setsockopt(held.fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
      ::bind(held.fd.get(), place->get(), place->length) != 0) {
    return io_error(errno == EADDRINUSE
                        ? "port " + std::to_string(port) + " on " + address + " is in use"
                        : "port " + std::to_string(port) + " on " + address +
                              " cannot be had: " + std::strerror(errno));
  }
  place->length = sizeof place->storage;
  TW_CHECK(::getsockname(held.fd.get(), reinterpret_cast<sockaddr*>(&place->storage),
                         &place->length) == 0,
           "a bound socket has a name");
  held.port = place->port();
  return held;
}

}  // namespace tracewise
