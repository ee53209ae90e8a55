// Boost.Interprocess's message_queue behind a C interface; an exception becomes -1, and its text is kept.

#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/version.hpp>

#include <cstddef>
#include <string>

using boost::interprocess::create_only;
using boost::interprocess::message_queue;
using boost::interprocess::open_only;

static std::string failure;

extern "C" {

const char* compare_boost_version() { return BOOST_LIB_VERSION; }

const char* compare_boost_failure() { return failure.c_str(); }

void* compare_boost_open(const char* name, bool create, std::size_t depth, std::size_t size) {
    try {
        if (create) {
            message_queue::remove(name);
            return new message_queue(create_only, name, depth, size);
        }
        return new message_queue(open_only, name);
    } catch (const std::exception& error) {
        failure = error.what();
        return nullptr;
    }
}

int compare_boost_send(void* queue, const void* message, std::size_t size) {
    try {
        return static_cast<message_queue*>(queue)->try_send(message, size, 0);
    } catch (const std::exception& error) {
        failure = error.what();
        return -1;
    }
}

int compare_boost_receive(void* queue, void* into, std::size_t room, std::size_t* size) {
    try {
        unsigned priority;
        message_queue::size_type received = 0;
        const bool there = static_cast<message_queue*>(queue)->try_receive(into, room, received, priority);
        *size = received;
        return there;
    } catch (const std::exception& error) {
        failure = error.what();
        return -1;
    }
}

void compare_boost_close(void* queue) { delete static_cast<message_queue*>(queue); }

void compare_boost_remove(const char* name) { message_queue::remove(name); }
}
