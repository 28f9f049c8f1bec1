//! Readiness: the container's notifications, and the service manager's.

use super::Container;
use super::machine::Event;
use crate::control::protocol::{Happening, State};
use crate::notify::Notification;
use crate::notify::inbox::Inbox;
use crate::reactor::timer;
use crate::reactor::{Interest, Token};
use firn::error::{Context, Result};
use firn::state::rfc3339;
use std::os::unix::net::UnixDatagram;
use std::time::SystemTime;

/// The socket's name in the state directory.
const NAME: &str = "notify";

impl Container {
    /// Makes the notification socket of this attempt.
    pub(super) fn open_inbox(&mut self) -> Result<()> {
        let socket = self.dir.bind_datagram(NAME)?;
        self.receive_notifications(socket)
    }

    /// Receives from the notification socket of this attempt.
    pub(super) fn receive_notifications(&mut self, socket: UnixDatagram) -> Result<()> {
        self.close_inbox();
        let path = self.dir.file(NAME);
        let inbox = Inbox::open(socket, &path).doing(|| format!("listen on {}", path.display()))?;
        self.reactor.add(&inbox, Interest::Readable, Token::Inbox).doing(|| "epoll_ctl: notification socket")?;
        self.inbox = Some(inbox);
        Ok(())
    }

    /// Closes the notification socket, if there is one.
    pub(super) fn close_inbox(&mut self) {
        if let Some(inbox) = self.inbox.take() {
            let _ = self.reactor.remove(&inbox);
        }
    }

    /// Takes what the container has notified: READY=1 is an event, most else is passed on.
    pub(super) fn read_notifications(&mut self) {
        let Some(inbox) = &mut self.inbox else { return };
        let Ok(notifications) = inbox.take_notifications() else {
            self.close_inbox();
            return self.print_message("warning: the process that receives the container's notifications has ended");
        };
        for notification in notifications {
            match notification {
                Notification::Ready => self.events.push_back(Event::Ready),
                // The monitor's own watchdog is not the container's.
                Notification::Alive => self.watch(),
                Notification::Stuck => self.events.push_back(Event::Watchdog),
                // It is the monitor that stops the unit, or starts the container again: a service manager
                // that was told otherwise would wait for an end, and neither stop nor reboot.
                Notification::Stopping => {}
                notification => {
                    if let Notification::Status(text) = &notification {
                        self.attempt.status_text = Some(text.clone());
                        self.unsaved = true;
                    }
                    self.upstream.relay(notification, &self.reactor);
                }
            }
        }
    }

    /// Gives the container the watchdog's time from now on, if it runs and has one.
    pub(super) fn watch(&mut self) {
        if let Some(limit) = self.settings.watchdog.filter(|_| self.machine.state() == State::Running) {
            self.watchdog.arm(limit);
        }
    }

    /// Notifies the service manager, and prints, that the container is ready.
    pub(super) fn notify_ready(&mut self) {
        self.attempt.ready_at = Some(rfc3339(SystemTime::now()));
        self.happened(Happening::Ready);
        self.watch();
        let millis = timer::since_boot().saturating_sub(self.attempt.began).as_millis();
        self.upstream.notify(Notification::Ready, &self.reactor);
        self.print_message(&format!("{} is ready ({millis} ms)", self.settings.id));
    }
}
