// What our files that call OpenSSL share. Its own headers stay in the .cpp files.
#pragma once

#include <memory>
#include <string>

namespace tracewise {

template <auto Free>
struct OpenSslFree {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
template <class T, auto Free>
using OpenSslPtr = std::unique_ptr<T, OpenSslFree<Free>>;

// The first error in this thread's OpenSSL queue in words, and an empty queue.
std::string take_openssl_error();

}  // namespace tracewise
