// Reads what stands in a PNG beside its pixels: text chunks (tEXt, zTXt, iTXt), and the request that made the picture.
const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const MOST = 64 * 1024 * 1024; // bytes of one inflated text

/** {keyword: text} of a PNG file's bytes; {} for what is no PNG. */
export async function texts(bytes) {
  const found = {};
  if (!SIGNATURE.every((value, i) => bytes[i] === value)) return found;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    const type = latin(bytes.subarray(at + 4, at + 8));
    if (at + 12 + length > bytes.length || type === 'IEND') break;
    if (['tEXt', 'zTXt', 'iTXt'].includes(type)) {
      const [key, text] = await read(type, bytes.subarray(at + 8, at + 8 + length));
      if (key) found[key] = text;
    }
    at += 12 + length;
  }
  return found;
}

async function read(type, data) {
  const end = data.indexOf(0);
  if (end < 1) return [null, ''];
  const key = latin(data.subarray(0, end));
  if (type === 'tEXt') return [key, latin(data.subarray(end + 1))];
  if (type === 'zTXt') return [key, latin(await inflate(data.subarray(end + 2)))];
  const language = data.indexOf(0, end + 3);
  const translated = data.indexOf(0, language + 1);
  const text = data.subarray(translated + 1);
  return [key, new TextDecoder().decode(data[end + 1] ? await inflate(text) : text)];
}

const latin = (bytes) => {
  let text = '';
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return text;
};

async function inflate(bytes) {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate')).getReader();
  const parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > MOST) throw new Error('a text in this picture is too long');
    parts.push(value);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** The request that made a picture of the studio, or null. */
export async function requestOf(blob) {
  try {
    const text = (await texts(new Uint8Array(await blob.arrayBuffer()))).Request;
    const request = text ? JSON.parse(text) : null;
    return request && typeof request.job === 'string' ? request : null;
  } catch {
    return null;
  }
}
