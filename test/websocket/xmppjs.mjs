// xmpp.js by WebSocket: two accounts log in, have a roster, chat; one loses its
// connection and resumes. SERVICE DOMAIN PASSWORD
import { client, xml } from '@xmpp/client'
import WebSocket from 'ws'

globalThis.WebSocket ??= WebSocket
const [service, domain, password] = process.argv.slice(2)

function start(username) {
  const c = client({ service, domain, username, password })
  c.on('error', (e) => console.error(username, e.message))
  c.stanzas = []
  c.waiting = []
  c.on('stanza', (s) => {
    c.stanzas.push(s)
    for (const look of [...c.waiting]) look()
  })
  return c
}

// wait returns the first stanza that fits, and takes it.
function wait(c, what, fits) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what} did not come; there are: ${c.stanzas.join('\n')}`)), 20_000)
    const look = () => {
      const i = c.stanzas.findIndex(fits)
      if (i < 0) return
      clearTimeout(timer)
      c.waiting.splice(c.waiting.indexOf(look), 1)
      resolve(c.stanzas.splice(i, 1)[0])
    }
    c.waiting.push(look)
    look()
  })
}

const said = (text) => (s) => s.is('message') && s.getChildText('body') === text
const say = (to, text) => xml('message', { type: 'chat', to: to.toString() }, xml('body', {}, text))

const a = start('a')
const b = start('b')
const jidA = await a.start()
const jidB = await b.start()
const roster = await a.iqCaller.get(xml('query', { xmlns: 'jabber:iq:roster' }))
if (roster === undefined) throw new Error('no roster')
await a.send(xml('presence'))
await b.send(xml('presence'))
const text = 'ünïcode & <markup> '.repeat(2000)
await a.send(say(jidB, text))
await wait(b, 'the first message', said(text))
console.log('chat')

// The connection of b breaks; what is said meanwhile comes behind the resumption.
const resumed = new Promise((resolve) => b.streamManagement.on('resumed', resolve))
b.socket.socket.terminate()
await a.send(say(jidB, 'while you were away'))
await wait(b, 'the message of meanwhile', said('while you were away'))
await resumed
console.log('resumed')
await b.send(say(jidA, 'back'))
await wait(a, 'the answer', said('back'))
await a.stop()
await b.stop()
console.log('done')
process.exit(0)
