// Strophe.js by WebSocket: two accounts log in, have a roster, chat, and end.
// SERVICE DOMAIN PASSWORD
import WebSocket from 'ws'
import { Strophe, $iq, $msg, $pres } from 'strophe.js'

globalThis.WebSocket ??= WebSocket
const [service, domain, password] = process.argv.slice(2)

function within(what, promise) {
  let timer
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`${what} took too long`)), 20_000) })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

function connect(user) {
  const c = new Strophe.Connection(service)
  c.over = new Promise((resolve) => { c.isOver = resolve })
  return new Promise((resolve, reject) => {
    c.connect(`${user}@${domain}`, password, (status, condition) => {
      switch (status) {
        case Strophe.Status.CONNECTED: resolve(c); break
        case Strophe.Status.AUTHFAIL:
        case Strophe.Status.CONNFAIL:
        case Strophe.Status.CONNTIMEOUT: reject(new Error(`${user}: ${status} ${condition}`)); break
        case Strophe.Status.DISCONNECTED: c.isOver()
      }
    })
  })
}

const heard = (c) => new Promise((resolve) => c.addHandler((m) => {
  resolve(m.getElementsByTagName('body')[0].textContent)
}, null, 'message', 'chat'))

const a = await within('the login', connect('a'))
const b = await within('the login', connect('b'))
const roster = await within('the roster', new Promise((resolve, reject) =>
  a.sendIQ($iq({ type: 'get' }).c('query', { xmlns: 'jabber:iq:roster' }), resolve, reject)))
if (roster.getElementsByTagName('query').length !== 1) throw new Error('no roster')
a.send($pres())
b.send($pres())
const message = heard(b)
const text = 'ünïcode & <markup> '.repeat(2000)
a.send($msg({ to: b.jid, type: 'chat' }).c('body').t(text))
if (await within('the message', message) !== text) throw new Error('another text')
console.log('chat')
a.disconnect('')
b.disconnect('')
await within('the end', Promise.all([a.over, b.over]))
console.log('done')
process.exit(0)
